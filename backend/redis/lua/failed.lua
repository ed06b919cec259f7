-- failed goes through a part of the list failed, for the entries of a queue.
--
-- ARGV: prefix, first, number of entries, suffix that the entries of the queue
-- have, whether to return those or just their number, the entry that came before
-- the first when that was last seen or ''.
--
-- An entry ends in its queue, as Ruby, PHP and this library write it; once
-- requeued by resque-web, the time of that follows. One that ends otherwise, or
-- in a name with an escape, is for the caller to look at.
--
-- Others take entries out of the list, so that the first may have moved.
--
-- Returns: where the part begins, how many entries were looked at, how many end
-- in the suffix and are not returned, those that do and are and those that cannot
-- be told, in their order, the last entry of the part, and whether the one that
-- came before is gone, so that some may have been passed over.
local key, first, count, suffix = prefix .. 'failed', tonumber(ARGV[2]), tonumber(ARGV[3]), ARGV[4]
local wanted, before = ARGV[5] == '1', ARGV[6]
local gone = 0
if before ~= '' and call('LINDEX', key, first - 1) ~= before then
  local at = call('LPOS', key, before)
  if at then first = at + 1 else gone = 1 end
end
local entries = call('LRANGE', key, first, first + count - 1)
local found, counted = {}, 0
for _, entry in ipairs(entries) do
  local last = string.match(entry, '^(.*),%s*"retried_at":%s*"[^"]*"}$')
  if last then last = last .. '}' else last = entry end
  local certain = string.sub(last, -#suffix) == suffix
  if certain and not wanted then
    counted = counted + 1
  elseif certain or not string.find(last, '"queue":"[^"\\]*"}$') then
    found[#found + 1] = entry
  end
end
return {first, #entries, counted, found, entries[#entries] or '', gone}
