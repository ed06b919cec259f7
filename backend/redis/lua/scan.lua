-- scan returns a part of a list, or of a sorted set, behind one of its items.
--
-- ARGV: prefix, 'ready' or 'later', queue, how many, where the item was when it
-- was last seen, the item or ''.
--
-- Others take from the head of the list and put there what they give back, so
-- that the item may have moved, or be gone with all before it.
--
-- Returns where the part begins, and the part.
local what, queue, count, index, item = ARGV[2], ARGV[3], tonumber(ARGV[4]), tonumber(ARGV[5]), ARGV[6]
local key = what == 'ready' and ready(queue) or later(queue)
local command, find = 'LRANGE', 'LPOS'
if what ~= 'ready' then command, find = 'ZRANGE', 'ZRANK' end
if item ~= '' and call(command, key, index, index)[1] ~= item then
  index = call(find, key, item) or -1
end
local part = call(command, key, index + 1, index + count)
return {index + 1, part}
