#!lua
-- Enqueue a request whose id is accepted once per lane: while it is pending, and for a window after it was settled.
-- KEYS 1 lanes (set)  2 the lane's requests (stream)  3 the id window of this request id (string)
-- ARGV 1 lane name  2 id window (ms, kept until the request is settled)  3.. the entry's fields and values
-- Returns {entry id, 1} for a new entry; {entry id, 0} for an id already accepted.
-- Refused by the store when it is full (no allow-oom): accepting work is what must stop first.
local known = redis.call('GET', KEYS[3])
if known then
  return {string.match(known, '^[^:]+'), 0}
end
local fields = {}
for i = 3, #ARGV do
  fields[#fields + 1] = ARGV[i]
end
local entry = redis.call('XADD', KEYS[2], '*', unpack(fields))
redis.call('SET', KEYS[3], entry .. ':' .. ARGV[2])
redis.call('SADD', KEYS[1], ARGV[1])
return {entry, 1}
