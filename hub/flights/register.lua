-- The lease of one key's flight.
--
-- KEYS: lease, sign that somebody follows
-- ARGV: operation, flight, other flight (empty: none), handovers, milliseconds of the lease
-- Reply: {flight, handovers, 1 where it is the caller's, 1 where somebody follows}
--
-- The lease is "FLIGHT HANDOVERS"; the flight is "-" where it was handed over and nobody has claimed it yet.

local lease, followed = KEYS[1], KEYS[2]
local operation, flight, other, handovers, ttl = ARGV[1], ARGV[2], ARGV[3], tonumber(ARGV[4]), ARGV[5]

local holder, count
local known = redis.call('GET', lease)
if known then
  holder, count = string.match(known, '^(%S+) (%d+)$')
end
count = tonumber(count or 0)

if operation == 'claim' then
  if holder and holder ~= '-' and holder ~= flight and holder ~= other then
    redis.call('SET', followed, 1, 'PX', ttl)
    return {holder, count, 0, 1}
  end
  redis.call('SET', lease, flight .. ' ' .. count, 'PX', ttl)
  if holder ~= flight then
    redis.call('DEL', followed)
  end
  return {flight, count, 1, 0}
end

if operation == 'beat' then
  if holder and holder ~= flight then
    return {holder, count, 0, 0}
  end
  redis.call('SET', lease, flight .. ' ' .. handovers, 'PX', ttl)
  return {flight, handovers, 1, redis.call('EXISTS', followed)}
end

local is_own = holder == flight and 1 or 0
if operation == 'look' and is_own == 1 then
  redis.call('SET', followed, 1, 'PX', ttl)
elseif operation == 'release' and is_own == 1 then
  if handovers > 0 then
    redis.call('SET', lease, '- ' .. handovers, 'PX', ttl)
  else
    redis.call('DEL', lease)
  end
end
return {holder or '-', count, is_own, 0}
