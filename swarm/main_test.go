package swarm

import (
	"log/slog"
	"testing"

	"github.com/libp2p/go-libp2p/gologshim"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	gologshim.SetDefaultHandler(slog.DiscardHandler) // it complains of connections that tests break
	goleak.VerifyTestMain(m)
}
