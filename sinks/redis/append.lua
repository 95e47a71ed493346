-- Adds events to a channel's replay log and publishes them, in one step: whatever a subscriber hears is in the log.
--
-- KEYS: channel, log
-- ARGV: PUBLISH or SPUBLISH, the events' JSON, one a line, their marks (first position, last position, stream), one a
--       line, entries to keep, milliseconds to keep them
-- Reply: how many there were.

-- Checked before the first write: what a script has written stays, also when it fails.
local ttl = tonumber(ARGV[5])
if not string.match(ARGV[4], '^%d+$') or not string.match(ARGV[5], '^%d+$') or ttl < 1 or ttl > 1e12 then
  return redis.error_reply('ERR the bounds of the replay log make no sense')
end

local marks = {}
for mark in string.gmatch(ARGV[3], '[^\n]+') do
  marks[#marks + 1] = mark
end
local count = 0
for line in string.gmatch(ARGV[2], '[^\n]+') do
  count = count + 1
  redis.call('XADD', KEYS[2], 'MAXLEN', '~', ARGV[4], '*', 'event', line, 'at', marks[count])
  redis.call(ARGV[1], KEYS[1], line)
end
redis.call('PEXPIRE', KEYS[2], ARGV[5])
return count
