package redis

import "unsafe"

// asString and asBytes look at the same memory as their argument, which nobody
// changes any more: a payload is copied by the network often enough.

func asString(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }

func asBytes(s string) []byte { return unsafe.Slice(unsafe.StringData(s), len(s)) }
