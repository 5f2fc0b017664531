// Command shoal is a content-addressed CDN edge server.
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
