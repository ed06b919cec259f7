package queue_test

import (
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const module = "github.com/goferhq/queue"

// onlyThese are packages that may import nothing of the module but what is
// listed, and of the world only the standard library. Paths are relative to
// the module; the root is ".".
var onlyThese = map[string][]string{
	".":                          {"backend", "backend/memory", "retry", "status", "store"},
	"backend":                    {"backend/internal/rawjson", "store"},
	"backend/backendtest":        {"backend", "store", "store/storetest"},
	"backend/internal/hosts":     {"backend"},
	"backend/internal/losses":    {},
	"backend/internal/rawjson":   {},
	"backend/internal/tlsparams": {"backend"},
	"backend/memory":             {"backend", "store"},
	"retry":                      {},
	"status":                     {"store"},
	"store":                      {},
	"store/storetest":            {"store"},
}

// forbidden tells why a package may not import another, or returns "".
func forbidden(from, imported string) string {
	path, ours := "", imported == module
	if rest, found := strings.CutPrefix(imported, module+"/"); found {
		path, ours = rest, true
	} else if ours {
		path = "."
	}
	if allowed, listed := onlyThese[from]; listed {
		switch first, _, _ := strings.Cut(imported, "/"); {
		case ours && !slices.Contains(allowed, path):
			return "it may import only these of the module: " + strings.Join(allowed, ", ")
		case !ours && strings.Contains(first, "."):
			return "it may import only the standard library"
		}
		return ""
	}
	driver := driverOf(from)
	switch {
	case driver == "" || !ours:
		return ""
	case path == ".":
		return "a driver never imports the root"
	case driverOf(path) != "" && driverOf(path) != driver:
		return "a driver never imports another"
	}
	return ""
}

// driverOf returns the driver that a package belongs to, or "": redis for
// backend/redis, backend/redis/internal/x and store/redis.
func driverOf(path string) string {
	parts := strings.Split(path, "/")
	if len(parts) < 2 || parts[0] != "backend" && parts[0] != "store" {
		return ""
	}
	switch parts[1] {
	case "all", "backendtest", "storetest", "internal":
		return ""
	}
	return parts[1]
}

func TestTheArrowsBetweenPackages(t *testing.T) {
	seen := make(map[string]bool)
	err := filepath.WalkDir(".", func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name := entry.Name()
		if entry.IsDir() {
			if path != "." && (strings.HasPrefix(name, ".") || strings.HasPrefix(name, "_") || name == "testdata" || name == "vendor") {
				return filepath.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(name, ".go") || strings.HasSuffix(name, "_test.go") {
			return nil
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ImportsOnly)
		if err != nil {
			return err
		}
		from := filepath.ToSlash(filepath.Dir(path))
		seen[from] = true
		for _, spec := range file.Imports {
			imported, err := strconv.Unquote(spec.Path.Value)
			if err != nil {
				return err
			}
			if why := forbidden(from, imported); why != "" {
				t.Errorf("%s imports %s: %s", path, imported, why)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for path := range onlyThese {
		if _, err := os.Stat(filepath.FromSlash(path)); err == nil && !seen[path] {
			t.Errorf("%s was not looked at", path)
		}
	}
}

func TestTheArrowsCatchWhatIsForbidden(t *testing.T) {
	for _, test := range []struct {
		from, imported string
		ok             bool
	}{
		{".", "context", true}, {".", module + "/backend", true}, {".", module + "/backend/memory", true},
		{".", module + "/backend/redis", false}, {".", module + "/queuetest", false}, {".", "golang.org/x/sync/errgroup", false},
		{"retry", "errors", true}, {"retry", module + "/store", false}, {"retry", module, false},
		{"store", module + "/backend", false}, {"status", module + "/store", true}, {"status", module + "/backend", false},
		{"backend", module + "/store", true}, {"backend", module, false}, {"backend", "example.com/x", false},
		{"backend/redis", "github.com/redis/go-redis/v9", true}, {"backend/redis", module + "/store/redis", true},
		{"backend/redis", module + "/backend", true}, {"backend/redis", module, false},
		{"backend/redis", module + "/backend/memory", false}, {"backend/redis/internal/lua", module + "/backend/sqs", false},
		{"backend/redis", module + "/backend/redis/internal/lua", true}, {"store/redis", module + "/backend/sqs", false},
		{"backend/all", module + "/backend/redis", true}, {"backend/backendtest", module + "/backend/memory", false},
		{"queuetest", module, true}, {"queuetest", module + "/backend/memory", true},
	} {
		if why := forbidden(test.from, test.imported); (why == "") != test.ok {
			t.Errorf("%s imports %s: forbidden because %q", test.from, test.imported, why)
		}
	}
}
