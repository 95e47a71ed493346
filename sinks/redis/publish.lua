-- Publishes events, one message each, in order.
--
-- KEYS: channel
-- ARGV: PUBLISH or SPUBLISH, the events' JSON, one a line
-- Reply: how many there were.

local count = 0
for line in string.gmatch(ARGV[2], '[^\n]+') do
  redis.call(ARGV[1], KEYS[1], line)
  count = count + 1
end
return count
