-- A page of a stream's log, and how the stream stands at the same moment.
--
-- KEYS: log, state
-- ARGV: the first position wanted, how many events and bytes at most
-- Reply: {epoch, next, closed, status, created_at, model, fingerprint, about how many tokens the prompt has, milliseconds
--         it is kept, the events' JSON, one a line}; nil where there is no such stream. Texts that are not there are
--         empty.

local log, state = KEYS[1], KEYS[2]
local known = redis.call(
  'HMGET', state, 'next', 'closed', 'status', 'created_at', 'model', 'fingerprint', 'epoch', 'input_tokens')
if not known[1] then
  return false
end
local lines, size = {}, 0
local from = string.format('%d-0', tonumber(ARGV[1]) + 1)
for _, entry in ipairs(redis.call('XRANGE', log, from, '+', 'COUNT', ARGV[2])) do
  local line = entry[2][2]
  size = size + #line
  if #lines > 0 and size > tonumber(ARGV[3]) then
    break
  end
  lines[#lines + 1] = line
end
return {
  tonumber(known[7]), tonumber(known[1]), known[2] and 1 or 0, known[3], known[4], known[5] or '', known[6] or '',
  tonumber(known[8] or 0), redis.call('PTTL', state), table.concat(lines, '\n'),
}
