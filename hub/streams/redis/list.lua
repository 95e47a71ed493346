-- Puts a stream into the list of all, behind every other, whatever the clocks of those who made them say.
--
-- KEYS: the list
-- ARGV: stream, created_at
-- Reply: nothing of use.

local score = tonumber(ARGV[2])
local newest = redis.call('ZREVRANGE', KEYS[1], 0, 0, 'WITHSCORES')
if newest[2] and tonumber(newest[2]) >= score then
  score = tonumber(newest[2]) + 0.000001
end
return redis.call('ZADD', KEYS[1], 'NX', string.format('%.6f', score), ARGV[1])
