-- A page of a channel's replay log.
--
-- KEYS: log
-- ARGV: id to begin with, how many events and bytes at most
-- Reply: {id of the last one, 1 where there are more, the events' JSON, one a line}.

local limit = tonumber(ARGV[2])
local lines, size, id, more = {}, 0, '', 0
for index, entry in ipairs(redis.call('XRANGE', KEYS[1], ARGV[1], '+', 'COUNT', limit)) do
  local line = entry[2][2]
  size = size + #line
  if index > 1 and size > tonumber(ARGV[3]) then
    more = 1
    break
  end
  lines[index], id = line, entry[1]
end
if #lines == limit then
  more = 1
end
return {id, more, table.concat(lines, '\n')}
