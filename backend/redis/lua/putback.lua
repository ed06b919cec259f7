-- putback returns what has landed with an instance to the heads of the queues.
--
-- ARGV: prefix, instance, number of queues, the queues.
call('HDEL', running(''), '') -- a write that needs no memory comes first
for n = 1, tonumber(ARGV[3]) do back(ARGV[2], ARGV[3 + n]) end
return 0
