package beanstalkd

// firsts tells which jobs are handed out for the first time.
type firsts struct{}

func (f *firsts) is(id uint64) bool { return false }
