#!lua flags=no-writes,allow-oom
-- Read one page of the entries of a batch's range that it still carries: owed a reply, and never out of the range.
-- KEYS 1 batch (hash)  2 requests (stream)  3 attempts (hash)  4 cancels (set)
-- ARGV 1 'body' to include bodies, else ''  2 read after this entry, '' from the start  3 most entries to look at
-- Returns {last entry looked at or '' at the end, rows}; a row is {entry id, '', cancelled 0|1, fields and values...}.
local range = redis.call('HMGET', KEYS[1], 'after', 'last')
local after = ARGV[2] ~= '' and ARGV[2] or range[1]
local rows, last = {}, ''
if range[1] ~= range[2] and after ~= range[2] then
  local page = redis.call('XRANGE', KEYS[2], '(' .. after, range[2], 'COUNT', ARGV[3])
  for _, entry in ipairs(page) do
    if redis.call('HEXISTS', KEYS[3], entry[1]) == 0 then
      local row = {entry[1], '', redis.call('SISMEMBER', KEYS[4], entry[1])}
      for j = 1, #entry[2], 2 do
        if ARGV[1] == 'body' or entry[2][j] ~= 'body' then
          row[#row + 1] = entry[2][j]
          row[#row + 1] = entry[2][j + 1]
        end
      end
      rows[#rows + 1] = row
    end
  end
  if #page == tonumber(ARGV[3]) then
    last = page[#page][1]
  end
end
return {last, rows}
