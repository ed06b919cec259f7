package rabbitmq_test

import (
	"flag"
	"log/slog"
	"os"
	"testing"

	"github.com/goferhq/queue/integration/faults"

	_ "github.com/goferhq/queue/backend/rabbitmq"
)

// testsAtOnce is how many tests share this machine. Most of them wait, for
// delays and for servers that start, so that there can be more than processors.
const testsAtOnce = "8"

func TestMain(m *testing.M) {
	faults.BecomeWorker()
	flag.Parse()
	if err := flag.Set("test.parallel", testsAtOnce); err != nil {
		panic(err)
	}
	slog.SetDefault(slog.New(slog.NewTextHandler(logged, nil)))
	code := m.Run()
	shared.end(code != 0)
	os.Exit(code)
}
