// Command shoal is a content-addressed CDN edge server. README.md says what it does,
// docs/ARCHITECTURE.md how, and where to start reading.
//
// Its packages are not an API: they are there for this program, and change without
// notice. What others may hold on to are commands, settings, HTTP, metrics and the chart.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"github.com/shoal-cdn/shoal/cli"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	// After the first signal the edge drains; a second one ends it at once.
	context.AfterFunc(ctx, stop)
	code := cli.Run(ctx, os.Args[1:], cli.System())
	stop()
	os.Exit(code)
}
