-- remove deletes items of a queue if they are still there.
--
-- ARGV: prefix, 'ready' or 'later', queue, the first and the last index between
-- which the list's items are looked for, a value that no item has, the items.
--
-- To search a list for each item would take Redis' time for the length of the
-- list as often. The items are marked where they are and go in one sweep, which
-- nobody sees. What equals one of them is deleted too: it matches as well.
--
-- Returns how many were.
local what, queue, found = ARGV[2], ARGV[3], 0
if what == 'later' then
  for n = 7, #ARGV do found = found + call('ZREM', later(queue), ARGV[n]) end
  reindex('s', queue, later(queue))
  return found
end
local key, first, mark = ready(queue), tonumber(ARGV[4]), ARGV[6]
local wanted = {}
for n = 7, #ARGV do wanted[ARGV[n]] = true end
call('HDEL', running(''), '') -- a write that needs no memory comes first
for n, item in ipairs(call('LRANGE', key, first, ARGV[5])) do
  if wanted[item] then
    call('LSET', key, first + n - 1, mark)
    found = found + 1
  end
end
if found > 0 then call('LREM', key, found, mark) end
return found
