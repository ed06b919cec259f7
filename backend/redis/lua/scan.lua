-- scan returns a part of a list, or of a sorted set, behind one of its items.
--
-- ARGV: prefix, 'ready' or 'later', queue, how many, where the item was when it
-- was last seen, the item or ''.
--
-- Others take from the head of the list and put there what they give back, so
-- that the item may have moved, or be gone with all before it. Of several that
-- are equal the one is taken for it that is next to where it was, on the side
-- of the head: the first of all would be the same each time.
--
-- Returns where the part begins, and the part.
local what, queue, count, index, item = ARGV[2], ARGV[3], tonumber(ARGV[4]), tonumber(ARGV[5]), ARGV[6]
if what == 'later' then
  if item ~= '' then index = call('ZRANK', later(queue), item) or -1 end
  return {index + 1, call('ZRANGE', later(queue), index + 1, index + count)}
end
local key = ready(queue)
local function find()
  for last = index, math.max(index - 9 * count, 0), -count do
    local first = math.max(last - count + 1, 0)
    local part = call('LRANGE', key, first, last)
    for n = #part, 1, -1 do
      if part[n] == item then return first + n - 1 end
    end
  end
  return call('LPOS', key, item) or -1
end
if item ~= '' and call('LINDEX', key, index) ~= item then index = find() end
return {index + 1, call('LRANGE', key, index + 1, index + count)}
