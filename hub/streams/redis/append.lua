-- Adds events to a stream's log and tells everyone, or does nothing at all.
--
-- KEYS: log, state, channel of events, channel of batches
-- ARGV: PUBLISH or SPUBLISH, epoch, token, first and last position, the events' positions where some have spans (else
--       empty), status, model (empty: as before), 1 where the batch ends with `done`, milliseconds to keep it, bytes
--       above which a batch is only announced, the events' JSON, one a line
-- Reply: 8 * next position + 4 where the stream is to stop + outcome, for which see scripts.py; one number, as
--        it costs the reader a third of a list.
--
-- Everything is checked before the first write: nothing is rolled back.

local KEPT, STALE, BEHIND, LOST = 0, 1, 2, 3
local function reply(outcome, next, cancel)
  return 8 * next + 4 * cancel + outcome
end

local log, state = KEYS[1], KEYS[2]
local publish, epoch, token = ARGV[1], tonumber(ARGV[2]), ARGV[3]
local first, last = tonumber(ARGV[4]), tonumber(ARGV[5])

local known = redis.call('HMGET', state, 'epoch', 'token', 'next', 'closed', 'cancel', 'created_at')
if not known[1] then
  return reply(LOST, 0, 0)
end
local next, cancel = tonumber(known[3]), known[5] and 1 or 0
local is_adopted = false
if tonumber(known[1]) ~= epoch or known[2] ~= token then
  -- A lower epoch than the writer's: a fail-over has lost its take-over. It is the writer all the same.
  if tonumber(known[1]) >= epoch then
    return reply(STALE, next, cancel)
  end
  is_adopted = true
end
if is_adopted and (known[4] or next > first) then
  return reply(BEHIND, next, cancel)  -- an earlier writer wrote on where the take-over was lost: none of that stands
end
if known[4] or last < next then
  return reply(KEPT, next, cancel)  -- nothing follows `done`; a repeat after a lost reply
end
if first > next then
  return reply(BEHIND, next, cancel)
end

local seqs
if ARGV[6] ~= '' then
  seqs = {}
  for seq in string.gmatch(ARGV[6], '%d+') do
    seqs[#seqs + 1] = tonumber(seq)
  end
end
local lines, ids, seq, count = {}, {}, first - 1, 0
for line in string.gmatch(ARGV[12], '[^\n]+') do
  local begins = seq + 1
  count = count + 1
  seq = seqs and seqs[count] or begins
  if seq >= next then
    if #lines == 0 and begins ~= next then
      return reply(BEHIND, next, cancel)  -- the position lies inside a merged event
    end
    lines[#lines + 1] = line
    ids[#ids + 1] = string.format('%d-0', seq + 1)
  end
end

for index, line in ipairs(lines) do
  if next == 0 then
    redis.call('XADD', log, ids[index], 'event', line)
  elseif not redis.call('XADD', log, 'NOMKSTREAM', ids[index], 'event', line) then
    return reply(LOST, next, cancel)  -- the log was evicted: nothing was written yet
  end
end
local fields = {'next', last + 1, 'status', ARGV[7]}
if is_adopted then
  fields[#fields + 1] = 'epoch'
  fields[#fields + 1] = ARGV[2]
  fields[#fields + 1] = 'token'
  fields[#fields + 1] = token
end
if ARGV[8] ~= '' then
  fields[#fields + 1] = 'model'
  fields[#fields + 1] = ARGV[8]
end
if ARGV[9] == '1' then
  fields[#fields + 1] = 'closed'
  fields[#fields + 1] = 1
end
redis.call('HSET', state, unpack(fields))
redis.call('HINCRBY', state, 'bytes', #ARGV[12])
redis.call('PEXPIRE', state, ARGV[10])
redis.call('PEXPIRE', log, ARGV[10])
for _, line in ipairs(lines) do
  redis.call(publish, KEYS[3], line)
end
local message = string.format('%d %s\n', last, known[6])
if #ARGV[12] <= tonumber(ARGV[11]) then
  message = message .. ARGV[12]
end
redis.call(publish, KEYS[4], message)
return reply(KEPT, last + 1, cancel)
