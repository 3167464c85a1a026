#!lua flags=no-writes,allow-oom
-- Read what is needed to render or answer these entries; an entry that is gone was answered already.
-- KEYS 1 requests (stream)  2 attempts (hash)  3 cancels (set)
-- ARGV 1 'body' to include bodies, else ''  2.. entry ids
-- Returns for each entry false, or {entry id, attempts record or '', cancelled 0|1, fields and values...}.
local found = {}
for i = 2, #ARGV do
  local entry = redis.call('XRANGE', KEYS[1], ARGV[i], ARGV[i])[1]
  found[i - 1] = false
  if entry then
    local row = {entry[1], redis.call('HGET', KEYS[2], entry[1]) or '', redis.call('SISMEMBER', KEYS[3], entry[1])}
    for j = 1, #entry[2], 2 do
      if ARGV[1] == 'body' or entry[2][j] ~= 'body' then
        row[#row + 1] = entry[2][j]
        row[#row + 1] = entry[2][j + 1]
      end
    end
    found[i - 1] = row
  end
end
return found
