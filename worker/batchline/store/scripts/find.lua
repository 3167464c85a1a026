#!lua flags=no-writes,allow-oom
-- Look through one page of a lane for the entries of a request id, or for all entries.
-- KEYS 1 requests (stream)
-- ARGV 1 request id, or '' for all  2 look after this entry ('0-0' from the start)  3 up to this entry, '+' to the end
--      4 most entries to look at  5 most bytes to look at
-- Returns {last entry looked at or '' at the end, entry ids found}.
local last, found, bytes_left, entries_left = ARGV[2], {}, tonumber(ARGV[5]), tonumber(ARGV[4])
local step = 1
while bytes_left > 0 and entries_left > 0 do
  -- Small steps: how large bodies are is not known before they are read.
  local count = math.min(step, entries_left)
  local page = redis.call('XRANGE', KEYS[1], '(' .. last, ARGV[3], 'COUNT', count)
  for _, entry in ipairs(page) do
    last = entry[1]
    local id
    for j = 1, #entry[2], 2 do
      bytes_left = bytes_left - #entry[2][j + 1]
      if entry[2][j] == 'id' then
        id = id or entry[2][j + 1]
      end
    end
    if ARGV[1] == '' or id == ARGV[1] then
      found[#found + 1] = last
    end
  end
  if #page < count then
    return {'', found}
  end
  entries_left, step = entries_left - count, math.min(step * 2, 16)
end
return {last, found}
