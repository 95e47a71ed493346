-- The queue of jobs. Every operation is atomic, and does no harm when it is carried out twice, since a reply may be lost.
--
-- KEYS   1 jobs (hash: "<priority> <arguments as JSON>" by job)   2 announced (sorted set of streams by Unix seconds)
--        3 workers (hash: what each said last)   4 the queue's birth, another after the server has lost its memory
--        5 aside (sorted set of streams by Unix seconds)   6 why (hash: JSON by stream)
--        7 … 12 the streams that are waited at, in this order: again, suspect, last, high, normal, low
--        13 restored, a stream whose entries belong to a worker from the beginning
--        14 places (hash: "<number of the stream> <entry id>" by job)
--        15 promises (hash: what was announced, as in `jobs`, by stream)   16 kept (hash: what is aside, likewise)
-- ARGV   1 operation   2 its arguments as a JSON array   3 a job's value in `jobs`, or ""
--
-- A job is named by its key: its stream, and where that may come twice the time at which the stream was made. What is
-- announced or aside is no job, and has the stream's name.
-- A place is [number of the stream, entry id]; an entry has the fields stream (which job), lost (how many workers were
-- lost with it) and at (when it began to wait, in Unix seconds).

local GROUP = 'workers'
local PAGE = 10000
local STREAMS = {KEYS[7], KEYS[8], KEYS[9], KEYS[10], KEYS[11], KEYS[12], KEYS[13]}
local NUMBERS = {high = 4, normal = 5, low = 6}
local WAITED_AT = 6
local AGAIN, SUSPECT, LAST, RESTORED = 1, 2, 3, 7
local JOBS, PLACES, PROMISES, KEPT = KEYS[1], KEYS[14], KEYS[15], KEYS[16]

local arguments = cjson.decode(ARGV[2])
local value = ARGV[3]

local function now()
  local time = redis.call('TIME')
  return tonumber(time[1]) + tonumber(time[2]) / 1e6
end

local function fields_of(entry)
  local fields = {}
  for i = 1, #entry[2], 2 do
    fields[entry[2][i]] = entry[2][i + 1]
  end
  return fields
end

local function add(number, job, lost, at)
  local id = redis.call(
    'XADD', STREAMS[number], '*', 'stream', job, 'lost', lost, 'at', string.format('%.3f', at or now()))
  redis.call('HSET', PLACES, job, number .. ' ' .. id)
end

-- Have a job wait that a worker had: as `begun_queue` in suspects.py says.
local function add_begun(job, lost, at, max_attempts)
  lost = tonumber(lost)
  local number = SUSPECT
  if lost == 0 or lost >= max_attempts then
    number = AGAIN
  elseif lost == max_attempts - 1 then
    number = LAST
  end
  add(number, job, lost, at)
end

local function forget(job)
  redis.call('HDEL', JOBS, job)
  redis.call('HDEL', PLACES, job)
end

local function end_announcement(stream)
  redis.call('HDEL', PROMISES, stream)
  return redis.call('ZREM', KEYS[2], stream) == 1
end

local function remove(number, id)
  redis.call('XACK', STREAMS[number], GROUP, id)
  redis.call('XDEL', STREAMS[number], id)
end

-- How many entries of a stream wait for a worker, and how many each worker has.
local function count(number)
  local all = redis.call('XLEN', STREAMS[number])
  local held = redis.pcall('XPENDING', STREAMS[number], GROUP)
  if held.err then -- no group yet: all of them wait
    return all, {}
  end
  return math.max(0, all - held[1]), held[4] or {}
end

local function waiting()
  local sum = 0
  for number = 1, WAITED_AT do
    sum = sum + count(number)
  end
  return sum
end

local function owner(number, id)
  local held = redis.call('XPENDING', STREAMS[number], GROUP, id, id, 1)
  return held[1] and held[1][2]
end

local function number_of(job_value)
  return NUMBERS[string.match(job_value, '^%l+')] or NUMBERS.normal
end

-- Let others take what a worker has, but the places it keeps; returns how many these are.
local function hand_back(worker, lost, kept, max_attempts)
  local moved = 0
  for number = 1, #STREAMS do
    for _, held in ipairs(redis.call('XPENDING', STREAMS[number], GROUP, '-', '+', PAGE, worker)) do
      local id = held[1]
      if not kept[number .. ' ' .. id] then
        local entry = redis.call('XRANGE', STREAMS[number], id, id)[1]
        if entry then
          local fields = fields_of(entry)
          add_begun(fields.stream, fields.lost + lost, fields.at, max_attempts)
          moved = moved + 1
        end
        remove(number, id)
      end
    end
  end
  return moved
end

local function forget_worker(worker)
  redis.call('HDEL', KEYS[3], worker)
  for number = 1, #STREAMS do
    redis.call('XGROUP', 'DELCONSUMER', STREAMS[number], GROUP, worker)
  end
end

local operations = {}

-- Make the groups where there are none. A birth is given, for a queue that has none. Returns the queue's own.
function operations.found(birth)
  for number = 1, #STREAMS do
    redis.pcall('XGROUP', 'CREATE', STREAMS[number], GROUP, '0', 'MKSTREAM')
  end
  redis.call('SET', KEYS[4], birth, 'NX')
  return redis.call('GET', KEYS[4])
end

-- Note that a stream is about to be made. Returns 1, or 0 where too many wait. Who says so last is believed: it may be
-- another stream of an id whose earlier stream was announced, and not made.
function operations.announce(stream, max_queued)
  if not redis.call('ZSCORE', KEYS[2], stream) and waiting() + redis.call('ZCARD', KEYS[2]) >= max_queued then
    return 0
  end
  redis.call('HSET', PROMISES, stream, value)
  redis.call('ZADD', KEYS[2], now(), stream)
  return 1
end

-- Forget an announcement.
function operations.withdraw(stream)
  end_announcement(stream)
  return 1
end

-- Have a job wait for a worker. Returns 1, or 0 where too many do.
function operations.submit(stream, job, max_queued)
  local was_announced = end_announcement(stream)
  if redis.call('HEXISTS', JOBS, job) == 1 then
    return 1
  end
  if not was_announced and waiting() >= max_queued then
    return 0
  end
  redis.call('HSET', JOBS, job, value)
  add(number_of(value), job, 0)
  return 1
end

-- Have a job wait that was announced and never submitted.
function operations.promote(stream, job)
  local promised = redis.call('HGET', PROMISES, stream)
  local known = redis.call('HEXISTS', JOBS, job) + redis.call('HEXISTS', JOBS, stream)
  if end_announcement(stream) and promised and known == 0 then
    redis.call('HSET', JOBS, job, promised)
    add(number_of(promised), job, 0)
  end
  return 1
end

-- Forget a job that no worker has.
function operations.forget(job)
  local number, id = string.match(redis.call('HGET', PLACES, job) or '', '^(%d+) (.+)$')
  number = tonumber(number)
  if number and not owner(number, id) then
    remove(number, id)
    forget(job)
  end
  return 1
end

-- Give a worker up to so many jobs, of suspects and of those on their last try only so many: {number, id, job, lost,
-- value} each.
function operations.take(worker, limit, suspects, lasts)
  local taken, room = {}, {[SUSPECT] = suspects, [LAST] = lasts}
  for number = 1, WAITED_AT do
    local count = math.min(limit - #taken, room[number] or limit)
    -- There are mostly no suspects at all, which is cheaper to ask.
    if count > 0 and (not room[number] or redis.call('XLEN', STREAMS[number]) > 0) then
      local read = redis.call('XREADGROUP', 'GROUP', GROUP, worker, 'COUNT', count, 'STREAMS', STREAMS[number], '>')
      for _, entry in ipairs(read and read[1][2] or {}) do
        local fields = fields_of(entry)
        local job = redis.call('HGET', JOBS, fields.stream)
        if job then
          taken[#taken + 1] = {number, entry[1], fields.stream, fields.lost, job}
        else -- forgotten while it waited
          remove(number, entry[1])
          forget(fields.stream)
        end
      end
    end
  end
  return taken
end

-- The jobs at these places, if they are the worker's; as `take` has them.
function operations.fetch(worker, places)
  local found = {}
  for _, place in ipairs(places) do
    local number, id = place[1], place[2]
    if owner(number, id) == worker then
      local entry = redis.call('XRANGE', STREAMS[number], id, id)[1]
      local fields = entry and fields_of(entry)
      local job = fields and redis.call('HGET', JOBS, fields.stream)
      if job then
        found[#found + 1] = {number, id, fields.stream, fields.lost, job}
      else
        remove(number, id)
        if fields then
          forget(fields.stream)
        end
      end
    end
  end
  return found
end

-- The places a worker has.
function operations.places(worker)
  local places = {}
  for number = 1, #STREAMS do
    for _, held in ipairs(redis.call('XPENDING', STREAMS[number], GROUP, '-', '+', PAGE, worker)) do
      places[#places + 1] = {number, held[1]}
    end
  end
  return places
end

-- A worker's sign of life. Returns: the queue's birth; 1 where the worker was known; how many places it has; what each
-- worker said last; who has jobs and said nothing; what was announced long ago: {stream, seconds} each.
function operations.beat(worker, said, announced_for)
  local known = redis.call('HEXISTS', KEYS[3], worker)
  redis.call('HSET', KEYS[3], worker, said)
  local held, silent = 0, {}
  for number = 1, #STREAMS do
    local _, consumers = count(number)
    for _, consumer in ipairs(consumers) do
      if consumer[1] == worker then
        held = held + tonumber(consumer[2])
      elseif redis.call('HEXISTS', KEYS[3], consumer[1]) == 0 then
        silent[#silent + 1] = consumer[1]
      end
    end
  end
  local time, late = now(), {}
  local found = redis.call('ZRANGEBYSCORE', KEYS[2], '-inf', time - announced_for, 'WITHSCORES', 'LIMIT', 0, 100)
  for i = 1, #found, 2 do
    late[#late + 1] = {found[i], math.floor(time - tonumber(found[i + 1]))}
  end
  return {redis.call('GET', KEYS[4]), known, held, redis.call('HGETALL', KEYS[3]), silent, late}
end

-- What is true of places that a worker believes to have: 0 it is the worker's, 1 it is gone, 2 it is another's, 3 it
-- waits.
function operations.check(worker, places)
  local states = {}
  for i, place in ipairs(places) do
    local has = owner(place[1], place[2])
    if has == worker then
      states[i] = 0
    elseif has then
      states[i] = 2
    else
      states[i] = redis.call('XRANGE', STREAMS[place[1]], place[2], place[2])[1] and 3 or 1
    end
  end
  return states
end

-- Let others take what a worker has that is lost, unless it said something else meanwhile. Returns how many, or -1.
function operations.bury(worker, said, max_attempts)
  if (redis.call('HGET', KEYS[3], worker) or '') ~= said then
    return -1
  end
  local moved = hand_back(worker, 1, {}, max_attempts)
  forget_worker(worker)
  return moved
end

-- Let others take what a worker has, but these places. A worker that keeps none may go for good.
function operations.leave(worker, kept, is_gone, max_attempts)
  local set = {}
  for _, place in ipairs(kept) do
    set[place[1] .. ' ' .. place[2]] = true
  end
  local moved = hand_back(worker, 0, set, max_attempts)
  if is_gone == 1 then
    forget_worker(worker)
  end
  return moved
end

-- Give a worker back a job that it runs and the server has forgotten. Returns the id of its place in `restored`.
function operations.restore(worker, job, lost, number, id)
  if owner(number, id) then -- somebody has it after all
    return false
  end
  remove(number, id)
  redis.call('HSETNX', JOBS, job, value)
  add(RESTORED, job, lost)
  local read = redis.call('XREADGROUP', 'GROUP', GROUP, worker, 'COUNT', 1, 'STREAMS', STREAMS[RESTORED], '>')
  return read[1][2][1][1]
end

-- A job is done with. Returns 1, or 0 where it isn't the worker's any more.
function operations.finish(worker, number, id, job)
  if owner(number, id) ~= worker then
    return 0
  end
  remove(number, id)
  forget(job)
  return 1
end

-- Another worker may try. Returns as `finish` does.
function operations.release(worker, number, id, job, lost, max_attempts)
  if owner(number, id) ~= worker then
    return 0
  end
  local entry = redis.call('XRANGE', STREAMS[number], id, id)[1]
  remove(number, id)
  add_begun(job, lost, entry and fields_of(entry).at, max_attempts)
  return 1
end

-- A worker has a job twice, and keeps the other place.
function operations.discard(worker, number, id)
  if owner(number, id) == worker then
    remove(number, id)
  end
  return 1
end

-- Nobody is to try again: what was asked is kept for people to look at, the last so many. It is no job any more, so that
-- a later one of the same stream has nothing to do with it. Returns as `finish` does.
function operations.set_aside(worker, number, id, job, stream, lost, reason, max_aside)
  if owner(number, id) ~= worker then
    return 0
  end
  remove(number, id)
  redis.call('ZADD', KEYS[5], now(), stream)
  redis.call('HSET', KEYS[6], stream, cjson.encode({lost, reason}))
  redis.call('HSET', KEPT, stream, redis.call('HGET', JOBS, job) or '')
  forget(job)
  for _, oldest in ipairs(redis.call('ZRANGE', KEYS[5], 0, -1 - max_aside)) do
    operations.drop(oldest)
  end
  return 1
end

-- Forget a job that was set aside. Returns 1 where there was one.
function operations.drop(stream)
  redis.call('HDEL', KEYS[6], stream)
  redis.call('HDEL', KEPT, stream)
  return redis.call('ZREM', KEYS[5], stream)
end

-- The job that was set aside, if it was.
function operations.aside(stream)
  return redis.call('ZSCORE', KEYS[5], stream) and redis.call('HGET', KEPT, stream)
end

-- What there is: the time; for each stream that is waited at {how many wait, since when the oldest does}; how many are
-- announced; {worker, what it said last, how many jobs it has} each; {stream, since, why, job} of each that is aside.
function operations.survey(max_listed)
  local depths, held = {}, {}
  for number = 1, #STREAMS do
    local waits, consumers = count(number)
    for _, consumer in ipairs(consumers) do
      held[consumer[1]] = (held[consumer[1]] or 0) + tonumber(consumer[2])
    end
    if number <= WAITED_AT then
      depths[number] = {waits, ''}
      if waits > 0 then
        local groups = redis.call('XINFO', 'GROUPS', STREAMS[number])
        local last = '-'
        for i = 1, groups[1] and #groups[1] or 0, 2 do
          if groups[1][i] == 'last-delivered-id' then
            last = '(' .. groups[1][i + 1]
          end
        end
        local oldest = redis.call('XRANGE', STREAMS[number], last, '+', 'COUNT', 1)[1]
        depths[number][2] = oldest and fields_of(oldest).at or ''
      end
    end
  end
  local workers, said = {}, redis.call('HGETALL', KEYS[3])
  for i = 1, #said, 2 do
    workers[#workers + 1] = {said[i], said[i + 1], held[said[i]] or 0}
    held[said[i]] = nil
  end
  for worker, jobs in pairs(held) do
    workers[#workers + 1] = {worker, '', jobs}
  end
  local aside = {}
  local found = redis.call('ZREVRANGE', KEYS[5], 0, max_listed - 1, 'WITHSCORES')
  for i = 1, #found, 2 do
    local why = redis.call('HGET', KEYS[6], found[i])
    local job = string.match(redis.call('HGET', KEPT, found[i]) or '', '^%l+') or ''
    aside[#aside + 1] = {found[i], found[i + 1], why or '', job}
  end
  return {tostring(now()), depths, redis.call('ZCARD', KEYS[2]), workers, aside}
end

return operations[ARGV[1]](unpack(arguments))
