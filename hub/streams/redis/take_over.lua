-- Gives a stream another writer; one that was queued runs from then on.
--
-- KEYS: state
-- ARGV: the epoch that stands, token of the new writer
-- Reply: the new epoch; 0 where another one stands, as for a call that was delayed until after its repeat; nil where
--        there is no such stream.

local known = redis.call('HMGET', KEYS[1], 'epoch', 'token', 'status')
if not known[1] then
  return false
end
local epoch = tonumber(ARGV[1]) + 1
if tonumber(known[1]) == epoch and known[2] == ARGV[2] then
  return epoch  -- a repeat after a lost reply
end
if known[1] ~= ARGV[1] then
  return 0
end
redis.call('HSET', KEYS[1], 'epoch', epoch, 'token', ARGV[2], 'status', known[3] == 'queued' and 'running' or known[3])
return epoch
