-- Has a stream wait for another writer, unless there is one already or something was said.
--
-- KEYS: state
-- ARGV: epoch and token of the writer that hands over
-- Reply: 1 it waits, 0 it doesn't.

local known = redis.call('HMGET', KEYS[1], 'epoch', 'token', 'next')
if known[1] ~= ARGV[1] or known[2] ~= ARGV[2] or known[3] ~= '0' then
  return 0
end
redis.call('HSET', KEYS[1], 'status', 'queued')
return 1
