-- Makes an empty stream, or one anew whose data the server has lost.
--
-- KEYS: log, state
-- ARGV: epoch, token, created_at, model, fingerprint (empty: none), milliseconds to keep it, 1 where it is to stop, the
--       next position that was seen where it is made anew (empty: it is made), about how many tokens the prompt has
--       (empty: not known)
-- Reply: 1 made, 0 the stream is somebody else's.

local log, state = KEYS[1], KEYS[2]
local known = redis.call('HMGET', state, 'epoch', 'token', 'next')
if known[1] then
  local is_own = known[1] == ARGV[1] and known[2] == ARGV[2]
  local is_lower = tonumber(known[1]) < tonumber(ARGV[1])  -- a fail-over has lost the take-over
  if not is_own and (ARGV[8] == '' or not is_lower) then
    return 0
  end
  if ARGV[8] == '' or known[3] ~= ARGV[8] then
    return 1  -- a repeat after a lost reply, or a call that was delayed until after its repeat
  end
end
redis.call('DEL', log, state)
local fields = {'epoch', ARGV[1], 'token', ARGV[2], 'created_at', ARGV[3], 'next', 0, 'status', 'running', 'bytes', 0}
local optional = {model = ARGV[4], fingerprint = ARGV[5], cancel = ARGV[7], input_tokens = ARGV[9]}
for name, value in pairs(optional) do
  if value ~= '' then
    fields[#fields + 1] = name
    fields[#fields + 1] = value
  end
end
redis.call('HSET', state, unpack(fields))
redis.call('PEXPIRE', state, ARGV[6])
return 1
