-- pause stops a queue, or lets it go on, and tells every worker at once.
--
-- ARGV: prefix, queue, 'pause' or 'resume'.
local key = prefix .. 'gofer:paused'
if call(ARGV[3] == 'pause' and 'SADD' or 'SREM', key, ARGV[2]) == 0 then return 0 end
for _, instance in ipairs(call('ZRANGE', prefix .. 'gofer:workers', 0, -1)) do
  call('LPUSH', prefix .. 'gofer:wake:' .. instance, 'look')
  call('LTRIM', prefix .. 'gofer:wake:' .. instance, 0, 0)
  call('EXPIRE', prefix .. 'gofer:wake:' .. instance, 60)
end
return 1
