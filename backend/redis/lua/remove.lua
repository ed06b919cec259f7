-- remove deletes items of a queue, each once, if they are still there.
--
-- ARGV: prefix, 'ready' or 'later', queue, items.
--
-- Returns how many were.
local what, queue, found = ARGV[2], ARGV[3], 0
for n = 4, #ARGV do
  if what == 'ready' then
    found = found + call('LREM', ready(queue), 1, ARGV[n])
  else
    found = found + call('ZREM', later(queue), ARGV[n])
  end
end
if what == 'later' then reindex('s', queue, later(queue)) end
return found
