#!lua flags=allow-oom
-- A provider had no room for a batch: believe in a lower limit for a while. Where it names its limit and that explains it,
-- that is believed; else what it holds of ours besides, though never less than any queue has. Where it holds nothing of
-- ours, others use its room, and no limit of ours would help.
-- KEYS 1 the account's open batches (hash)  2 its believed limits (hash)
-- ARGV 1 pool  2 batch  3 its tokens  4 its requests  5 'tokens' or 'requests': what the budget counts
--      6 the limit that the provider named (0: none)  7 now (ms)  8 how long that is believed (ms)  9 how long a guess is (ms)
--      10 the least limit that may be guessed  11 the account's budgets (JSON, lib/room), or ''
-- Returns the limit that is believed now, 0 if nothing was learned.
--@include room
local sent = room_used(KEYS[1], ARGV[1], '', ARGV[2], true, ARGV[11])
local mine, others = tonumber(ARGV[5] == 'tokens' and ARGV[3] or ARGV[4]), sent[ARGV[5]]
local told, now = tonumber(ARGV[6]), tonumber(ARGV[7])
local function believe(kind, limit, kept)
  local tokens, requests = ARGV[5] == 'tokens' and limit or 0, ARGV[5] == 'requests' and limit or 0
  redis.call('HSET', KEYS[2], kind .. '|' .. ARGV[1], string.format('%.0f:%.0f:%.0f', tokens, requests, now + tonumber(kept)))
  redis.call('PEXPIRE', KEYS[2], ARGV[8])
  return limit
end
if told > 0 then
  believe('told', told, ARGV[8])
end
if told > 0 and others + mine > told then
  return told
elseif others > 0 then
  return believe('guess', math.max(others, tonumber(ARGV[10])), ARGV[9])
end
return told
