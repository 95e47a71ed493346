-- Where in a replay log to begin for whoever wants a position of a stream and all that came behind it.
--
-- KEYS: log
-- ARGV: id to look before, id to look down to, stream as in its marks, position, how many entries to look at
-- Reply: {1, id}; {0, ''} where there is no such entry; {2, id} where there may be one before that id.
--
-- A call that was sent again has left entries twice, maybe with other streams' between: the older ones count.

local position, limit = tonumber(ARGV[4]), tonumber(ARGV[5])
local looked, id, covering, before = 0, '', nil, nil
for _, entry in ipairs(redis.call('XREVRANGE', KEYS[1], ARGV[1], ARGV[2], 'COUNT', limit)) do
  looked, id = looked + 1, entry[1]
  local first, last, stream = string.match(entry[2][4], '^(%d+) (%d+) (.*)$')
  if stream == ARGV[3] and tonumber(first) <= position then
    if position <= tonumber(last) then
      covering = id
    else
      before = before or id
    end
  end
end
if covering or before then
  return {1, covering or before}
end
if looked == limit then
  return {2, id}
end
return {0, ''}
