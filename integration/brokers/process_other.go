//go:build !linux

package brokers

import "syscall"

// dieWithParent does nothing here: a test that is killed leaves its servers.
func dieWithParent() *syscall.SysProcAttr { return nil }

// frozen cannot tell here whether SIGSTOP has reached the process. It takes but
// a moment.
func frozen(int) error { return nil }
