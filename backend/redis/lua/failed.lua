-- failed goes through a part of the list failed, for the entries of a queue.
--
-- ARGV: prefix, first, number of entries, suffix that the entries of the queue
-- have, whether to return them or just their number.
--
-- An entry ends in its queue, as Ruby, PHP and this library write it; once
-- requeued by resque-web, the time of that follows. One that ends otherwise is
-- returned for the caller to look at.
--
-- Returns: how many entries were looked at, how many end in the suffix, those
-- if wanted, and the others that cannot be told.
local first, count, suffix = tonumber(ARGV[2]), tonumber(ARGV[3]), ARGV[4]
local entries = call('LRANGE', prefix .. 'failed', first, first + count - 1)
local found, ours, unknown = 0, {}, {}
for _, entry in ipairs(entries) do
  local last = string.match(entry, '^(.*),%s*"retried_at":%s*"[^"]*"}$')
  if last then last = last .. '}' else last = entry end
  if string.sub(last, -#suffix) == suffix then
    found = found + 1
    if ARGV[5] == '1' then ours[#ours + 1] = entry end
  elseif not string.find(last, '"queue":"[^"\\]*"}$') then
    unknown[#unknown + 1] = entry
  end
end
return {#entries, found, ours, unknown}
