#!lua flags=no-writes,allow-oom
-- Read dead letters of a lane, as many of those asked for as make about 2 MB, one at least.
-- KEYS 1 the lane's dead letters (hash)
-- ARGV 1 'body' to include bodies, else ''  2 most bytes to read in this call  3.. entry ids
-- Returns for each entry looked at false, or {entry id, attempts record, 0, fields and values...}; ask again for the rest.
local found, left = {}, tonumber(ARGV[2])
for i = 3, #ARGV do
  local letter = redis.call('HGET', KEYS[1], ARGV[i])
  found[i - 2] = false
  if letter then
    local record, _, fields = cmsgpack.unpack(letter)
    local row = {ARGV[i], record, 0}
    for j = 1, #fields, 2 do
      if ARGV[1] == 'body' or fields[j] ~= 'body' then
        row[#row + 1] = fields[j]
        row[#row + 1] = fields[j + 1]
      end
    end
    found[i - 2] = row
    left = left - #letter
    if left <= 0 then
      break
    end
  end
end
return found
