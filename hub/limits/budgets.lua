-- The budgets that several processes share: what is left, what the last interval took, and who waits.
--
-- KEYS   1 state (hash)  2 window (hash: "t:<slot>", "r:<slot>")  3 queue (sorted set of claims)
--        4 needs (hash: "<tokens> <requests> <expiry>" by claim)  5 members (sorted set of processes)
--        6 the claim's grant: its slot, or "left"
-- ARGV   1 operation  2 Unix seconds, or "" for the server's  3 tokens and 4 requests an interval, or ""
--        5 interval  6 process  7 the epoch it knows, or ""  8 an epoch to begin with  9… the operation's own
-- Returns status (0 wait, 1 granted, 2 too large, 3 left), microseconds to wait, slot, processes, epoch,
--        level and limit of tokens, level and limit of requests (-1: no limit)

local SLOTS = 200
local TOLERANCE = 1e-6
local PRIORITY = 2 ^ 40 -- a step of priority outweighs that many turns; 1,000 of them still fit a double

local interval = tonumber(ARGV[5])
local now = tonumber(ARGV[2])
if not now then
  local time = redis.call('TIME')
  now = tonumber(time[1]) + tonumber(time[2]) / 1e6
end

local fields = redis.call('HMGET', KEYS[1], 'epoch', 'at', 'paused_until', 'turn', 'oldest', 'newest',
  't:base', 't:limit', 't:level', 't:sum', 'r:base', 'r:limit', 'r:level', 'r:sum')
local epoch = fields[1]
local at = tonumber(fields[2]) or now
local paused_until = tonumber(fields[3]) or 0
local turn = tonumber(fields[4]) or 0
local oldest, newest = tonumber(fields[5]), tonumber(fields[6])

-- A clock that was set back a little stands still; one that was set back far begins anew.
if at - now > interval then
  epoch = false
elseif at > now then
  now = at
end
local slot_interval = interval / SLOTS
local slot = math.floor((now + TOLERANCE) / slot_interval)
local knew_more = ARGV[7] ~= ''

local function load_budget(name, first, base)
  base = tonumber(base)
  local known_base, limit, level, sum =
    tonumber(fields[first]), tonumber(fields[first + 1]), tonumber(fields[first + 2]), tonumber(fields[first + 3])
  if not epoch then
    limit, sum = base, 0
    -- Who knew another state has used some of what this one forgot.
    level = base and (knew_more and 0 or base)
  elseif known_base ~= base then
    level = base and (limit and level + base - limit or base)
    limit = base
  end
  if limit then
    level = math.min(limit, level + (now - at) * limit / interval)
  end
  return {name = name, base = base, limit = limit, level = level, sum = sum or 0}
end

local budgets = {load_budget('t', 7, ARGV[3]), load_budget('r', 11, ARGV[4])}
if not epoch then
  redis.call('DEL', KEYS[2], KEYS[3], KEYS[4])
  epoch, oldest, newest, paused_until = ARGV[8], nil, nil, 0
end

-- Forget what is older than the interval.
if newest and newest < slot - SLOTS then
  redis.call('DEL', KEYS[2])
  oldest, newest, budgets[1].sum, budgets[2].sum = nil, nil, 0, 0
end
while oldest and oldest < slot - SLOTS do
  local taken = redis.call('HMGET', KEYS[2], 't:' .. oldest, 'r:' .. oldest)
  if taken[1] or taken[2] then
    redis.call('HDEL', KEYS[2], 't:' .. oldest, 'r:' .. oldest)
    budgets[1].sum = math.max(0, budgets[1].sum - (tonumber(taken[1]) or 0))
    budgets[2].sum = math.max(0, budgets[2].sum - (tonumber(taken[2]) or 0))
  end
  oldest = oldest + 1
end

local window
local function taken_in(name, at_slot)
  if not window then
    window = {}
    local all = redis.call('HGETALL', KEYS[2])
    for i = 1, #all, 2 do
      window[all[i]] = tonumber(all[i + 1])
    end
  end
  return window[name .. ':' .. at_slot] or 0
end

local function wait_time(budget, amount)
  if not budget.limit then
    return 0
  end
  amount = math.min(amount, budget.limit)
  local wait = math.max(0, amount - budget.level - TOLERANCE) * interval / budget.limit
  local excess = budget.sum + amount - budget.limit
  if excess <= TOLERANCE then
    return wait
  end
  local seen = 0
  for s = oldest or slot, slot do
    local taken = taken_in(budget.name, s)
    seen, excess = seen + taken, excess - taken
    if excess <= TOLERANCE then
      return math.max(wait, (s + SLOTS + 1) * slot_interval - now, TOLERANCE)
    end
  end
  budget.sum = seen -- the window was evicted
  return math.max(wait, TOLERANCE)
end

local function add(budget, amount, at_slot, share)
  if amount <= 0 or at_slot < slot - SLOTS then
    return
  end
  redis.call('HINCRBYFLOAT', KEYS[2], budget.name .. ':' .. at_slot, amount)
  budget.sum = budget.sum + amount
  if budget.level then
    budget.level = budget.level - amount * share
  end
  oldest = math.min(oldest or at_slot, at_slot)
  newest = math.max(newest or at_slot, at_slot)
end

local function take_back(budget, amount, at_slot)
  local name = budget.name .. ':' .. at_slot
  local left = tonumber(redis.call('HGET', KEYS[2], name)) or 0
  local less = math.min(amount, left)
  if less > 0 and at_slot >= slot - SLOTS then
    redis.call('HINCRBYFLOAT', KEYS[2], name, -less)
    budget.sum = math.max(0, budget.sum - less)
    if budget.limit then
      budget.level = math.min(budget.limit, budget.level + less)
    end
  end
end

local function leave_queue(claim)
  redis.call('ZREM', KEYS[3], claim)
  redis.call('HDEL', KEYS[4], claim)
end

local status, delay, granted_slot = 1, 0, slot
local operation = ARGV[1]

if operation == 'take' then
  local claim, lease = ARGV[9], tonumber(ARGV[13])
  local wanted = {tonumber(ARGV[10]), tonumber(ARGV[11])}
  local granted = redis.call('GET', KEYS[6])
  if granted == 'left' then
    status = 3
  elseif granted then
    granted_slot = tonumber(granted) -- the answer was lost on its way
  elseif (budgets[1].limit and wanted[1] > budgets[1].limit) or (budgets[2].limit and wanted[2] > budgets[2].limit) then
    status = 2
    leave_queue(claim)
  else
    local score = tonumber(redis.call('ZSCORE', KEYS[3], claim))
    local is_queued = score ~= nil
    if not is_queued then
      turn = turn + 1
      score = turn - tonumber(ARGV[12]) * PRIORITY
    end
    -- Those before it have their room kept: whoever fits beside all of it needn't wait for them to fetch it.
    local ahead = {0, 0}
    for _, other in ipairs(redis.call('ZRANGEBYSCORE', KEYS[3], '-inf', '(' .. string.format('%.0f', score))) do
      local tokens, requests, expires = string.match(redis.call('HGET', KEYS[4], other) or '', '(%S+) (%S+) (%S+)')
      if not tokens or tonumber(expires) < now then
        leave_queue(other)
      else
        ahead[1], ahead[2] = ahead[1] + tonumber(tokens), ahead[2] + tonumber(requests)
      end
    end
    delay = math.max(0, paused_until - now)
    for i, budget in ipairs(budgets) do
      delay = math.max(delay, wait_time(budget, ahead[i] + wanted[i]))
      if budget.limit and ahead[i] + wanted[i] > budget.limit then
        delay = math.max(delay, lease) -- more than an interval's; nobody knows when
      end
    end
    if delay > 0 then
      status = 0
      redis.call('ZADD', KEYS[3], string.format('%.0f', score), claim)
      redis.call('HSET', KEYS[4], claim, string.format('%.17g %.17g %.6f', wanted[1], wanted[2], now + lease))
    else
      for i, budget in ipairs(budgets) do
        add(budget, wanted[i], slot, 1)
      end
      redis.call('SET', KEYS[6], string.format('%.0f', slot), 'PX', 10000)
      if is_queued then
        leave_queue(claim)
      end
    end
  end
elseif operation == 'leave' then
  local granted = redis.call('GET', KEYS[6])
  if granted and granted ~= 'left' then
    take_back(budgets[1], tonumber(ARGV[10]), tonumber(granted))
    take_back(budgets[2], tonumber(ARGV[11]), tonumber(granted))
  end
  leave_queue(ARGV[9])
  redis.call('SET', KEYS[6], 'left', 'PX', 10000) -- should its `take` arrive only now
elseif operation == 'adjust' then
  for i, budget in ipairs(budgets) do
    local amount = tonumber(ARGV[9 + i])
    if amount > 0 then
      add(budget, amount, slot, 1)
    elseif amount < 0 then
      take_back(budget, -amount, tonumber(ARGV[9]))
    end
  end
elseif operation == 'correct' then
  for i, budget in ipairs(budgets) do
    local limit, remaining = tonumber(ARGV[7 + 2 * i]), tonumber(ARGV[8 + 2 * i])
    if limit then
      budget.level = budget.limit and budget.level + limit - budget.limit or limit - budget.sum
      budget.limit = limit
    end
    if remaining and budget.limit then
      budget.level = math.min(budget.level, remaining)
    end
  end
  if ARGV[13] ~= '' then
    paused_until = math.max(paused_until, now + tonumber(ARGV[13]))
  end
elseif operation == 'restore' or operation == 'remind' then
  -- A state that has forgotten began with nothing left: what it is reminded of is no longer on its level.
  for i = 9, #ARGV, 3 do
    local age = tonumber(ARGV[i])
    local at_slot = math.floor((now - age + TOLERANCE) / slot_interval)
    for j, budget in ipairs(budgets) do
      add(budget, tonumber(ARGV[i + j]), at_slot, operation == 'remind' and 0 or math.max(0, 1 - age / interval))
    end
  end
end

redis.call('ZADD', KEYS[5], string.format('%.6f', now), ARGV[6])
-- Whoever was quiet for a while may come again, just when Redis is away.
redis.call('ZREMRANGEBYSCORE', KEYS[5], '-inf', string.format('%.6f', now - 5 * interval))
local members = redis.call('ZCARD', KEYS[5])

local state = {'epoch', epoch, 'at', string.format('%.6f', now), 'paused_until', string.format('%.6f', paused_until),
  'turn', string.format('%.0f', turn)}
local answer = {status, math.ceil(delay * 1e6), granted_slot, members, epoch}
local unset = {}
local function keep(name, value)
  if value then
    state[#state + 1], state[#state + 2] = name, string.format('%.17g', value)
  else
    unset[#unset + 1] = name
  end
end
keep('oldest', oldest)
keep('newest', newest)
for _, budget in ipairs(budgets) do
  keep(budget.name .. ':base', budget.base)
  keep(budget.name .. ':limit', budget.limit)
  keep(budget.name .. ':level', budget.limit and budget.level)
  keep(budget.name .. ':sum', budget.sum)
  answer[#answer + 1] = budget.limit and math.floor(budget.level) or -1
  answer[#answer + 1] = budget.limit and math.floor(budget.limit) or -1
end
redis.call('HSET', KEYS[1], unpack(state))
if #unset > 0 then
  redis.call('HDEL', KEYS[1], unpack(unset))
end
local ttl = string.format('%.0f', math.max(3600000, interval * 10000))
for i = 1, 5 do
  redis.call('PEXPIRE', KEYS[i], ttl)
end
return answer
