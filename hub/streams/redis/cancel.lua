-- Tells a stream's writer to stop.
--
-- KEYS: state, control channel
-- ARGV: PUBLISH or SPUBLISH
-- Reply: 1 told, 2 the stream has ended, 0 there is no such stream.

local known = redis.call('HMGET', KEYS[1], 'epoch', 'closed')
if not known[1] then
  return 0
end
if known[2] then
  return 2
end
redis.call('HSET', KEYS[1], 'cancel', 1)
redis.call(ARGV[1], KEYS[2], 'cancel')
return 1
