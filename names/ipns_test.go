package names

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ipfs/boxo/ipns"
	"github.com/ipfs/go-cid"
	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/multiformats/go-multibase"
)

// ipnsWorld is a bubble with a gateway for IPNS records.
func ipnsWorld(t *testing.T, f func(t *testing.T, w *world, g *records, n *Names)) {
	synctest.Test(t, func(t *testing.T) {
		w, g := newWorld(t), newRecords()
		w.serve("gateway.example", g)
		f(t, w, g, w.names(nil))
	})
}

func TestRecordInEverySpellingOfItsName(t *testing.T) {
	ipnsWorld(t, func(t *testing.T, w *world, g *records, n *Names) {
		k := newKey(t)
		raw := k.sign(pageA, 7, 24*time.Hour, 2*time.Minute)
		g.set(k.name, raw)
		base32, _ := k.name.Cid().StringOfBase(multibase.Base32)
		for _, spelling := range []string{k.name.String(), base32, k.name.Peer().String()} {
			if ttl := resolves(t, n, "/ipns/"+spelling+"/x/", pageA+"/x/"); ttl != 2*time.Minute {
				t.Errorf("%s: got a TTL of %s", spelling, ttl)
			}
		}
		got, err := n.Record(context.Background(), k.name)
		if err != nil || !bytes.Equal(got, raw) {
			t.Errorf("Record: %v", err)
		}
		if g.count(k.name) != 1 {
			t.Errorf("asked %d times", g.count(k.name))
		}
	})
}

func TestRecordsOfOtherKeys(t *testing.T) {
	rsa, _, err := crypto.GenerateRSAKeyPair(2048, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	ecdsa, _, _ := crypto.GenerateECDSAKeyPair(rand.Reader)
	secp, _, _ := crypto.GenerateSecp256k1Key(rand.Reader)
	for name, sk := range map[string]crypto.PrivKey{"RSA": rsa, "ECDSA": ecdsa, "secp256k1": secp} {
		t.Run(name, func(t *testing.T) {
			ipnsWorld(t, func(t *testing.T, w *world, g *records, n *Names) {
				k := keyOf(t, sk)
				g.set(k.name, k.sign(pageA, 1, time.Hour, time.Minute))
				resolves(t, n, "/ipns/"+k.name.Peer().String(), pageA)
			})
		})
	}
}

func TestUntrustworthyRecords(t *testing.T) {
	for name, tc := range map[string]struct {
		make func(t *testing.T, k key) []byte
		want error
	}{
		"another key's":  {func(t *testing.T, k key) []byte { return newKey(t).sign(pageA, 1, time.Hour, time.Minute) }, ipns.ErrSignature},
		"expired":        {func(t *testing.T, k key) []byte { return k.sign(pageA, 1, -time.Second, time.Minute) }, ipns.ErrExpiredRecord},
		"tampered value": {func(t *testing.T, k key) []byte { return tampered(t, k) }, nil},
		"cut off": {func(t *testing.T, k key) []byte {
			raw := k.sign(pageA, 1, time.Hour, time.Minute)
			return raw[:len(raw)/2]
		}, nil},
		"oversized": {func(t *testing.T, k key) []byte {
			return append(k.sign(pageA, 1, time.Hour, time.Minute), make([]byte, ipns.MaxRecordSize)...)
		}, ipns.ErrRecordSize},
		"empty":   {func(t *testing.T, k key) []byte { return []byte{} }, nil},
		"garbage": {func(t *testing.T, k key) []byte { return []byte("<html>not found, but 200 OK</html>") }, nil},
	} {
		t.Run(name, func(t *testing.T) {
			ipnsWorld(t, func(t *testing.T, w *world, g *records, n *Names) {
				k := newKey(t)
				g.set(k.name, tc.make(t, k))
				e := fails(t, n, k.path(), ErrInvalidRecord)
				if tc.want != nil && !errors.Is(e, tc.want) {
					t.Errorf("got %v, want %v", e, tc.want)
				}
				if _, err := n.Record(context.Background(), k.name); !errors.Is(err, ErrInvalidRecord) {
					t.Errorf("Record: %v", err)
				}
				if w.metric("shoal_names_resolutions_total", "ipns", "invalid") != 2 {
					t.Error("it does not show in the metrics")
				}
			})
		})
	}
}

// tampered changes a byte of a record at a time until it would point elsewhere.
func tampered(t *testing.T, k key) []byte {
	raw := k.sign(pageA, 1, time.Hour, time.Minute)
	for i, other := 0, []byte(pageB[6:10]); i < bytes.Count(raw, []byte(pageA[6:10])); i++ {
		raw = bytes.ReplaceAll(raw, []byte(pageA[6:10]), other)
	}
	return raw
}

func TestBadRecordDoesNotReplaceAGoodOne(t *testing.T) {
	ipnsWorld(t, func(t *testing.T, w *world, g *records, n *Names) {
		k := newKey(t)
		g.set(k.name, k.sign(pageA, 1, 24*time.Hour, time.Minute))
		resolves(t, n, k.path(), pageA)
		g.set(k.name, newKey(t).sign(pageB, 2, 24*time.Hour, time.Minute))
		time.Sleep(time.Hour)
		resolves(t, n, k.path(), pageA)
		if w.logCount("its last good answer is served") != 1 {
			t.Error("it is not logged")
		}
	})
}

func TestNewerRecordsReplaceOlderOnesAndNotTheReverse(t *testing.T) {
	ipnsWorld(t, func(t *testing.T, w *world, g *records, n *Names) {
		k := newKey(t)
		publish := func(target string, seq uint64, life time.Duration) {
			g.set(k.name, k.sign(target, seq, life, time.Minute))
			time.Sleep(2 * time.Minute)
		}
		publish(pageA, 5, time.Hour)
		resolves(t, n, k.path(), pageA)
		publish(pageB, 4, 48*time.Hour) // rollback
		if ttl := resolves(t, n, k.path(), pageA); ttl != time.Minute {
			t.Errorf("got a TTL of %s", ttl)
		}
		publish(pageB, 5, 30*time.Minute) // the same number, ending earlier
		resolves(t, n, k.path(), pageA)
		if w.logCount("older record") != 1 {
			t.Errorf("logged %d times", w.logCount("older record"))
		}
		publish(pageB, 6, 30*time.Minute)
		resolves(t, n, k.path(), pageB)
		publish(pageB, 6, 2*time.Hour) // renewed
		resolves(t, n, k.path(), pageB)

		publish(pageA, 5, 72*time.Hour)
		time.Sleep(3 * time.Hour) // the newer one has ended; the older one is still older
		if e := fails(t, n, k.path(), ErrInvalidRecord); !strings.Contains(e.Error(), "newer record") {
			t.Errorf("got %v", e)
		}
	})
}

func TestRecordIsNotUsedBeyondItsEnd(t *testing.T) {
	ipnsWorld(t, func(t *testing.T, w *world, g *records, n *Names) {
		k := newKey(t)
		g.set(k.name, k.sign(pageA, 1, 10*time.Minute, time.Hour))
		if ttl := resolves(t, n, k.path(), pageA); !near(ttl, 10*time.Minute) {
			t.Errorf("got a TTL of %s for a record that ends in 10 minutes", ttl)
		}
		g.set(k.name, k.sign(pageB, 2, 30*time.Minute, time.Minute))
		time.Sleep(10 * time.Minute)
		resolves(t, n, k.path(), pageB)
		w.setDown("gateway.example", true)
		time.Sleep(20*time.Minute - 10*time.Second)
		if ttl := resolves(t, n, k.path(), pageB); ttl > 10*time.Second {
			t.Errorf("got a TTL of %s for a record that ends in 10 seconds", ttl)
		}
		time.Sleep(10 * time.Second)
		fails(t, n, k.path(), ErrUnavailable)
		if _, err := n.Record(context.Background(), k.name); !errors.Is(err, ErrUnavailable) {
			t.Errorf("Record: %v", err)
		}
	})
}

func TestRecordThatPointsToNoPath(t *testing.T) {
	ipnsWorld(t, func(t *testing.T, w *world, g *records, n *Names) {
		k := newKey(t)
		long := k.sign(pageA+strings.Repeat("/deep", maxTarget/5), 1, time.Hour, time.Minute)
		g.set(k.name, long)
		fails(t, n, k.path(), ErrInvalidRecord)
		if got, err := n.Record(context.Background(), k.name); err != nil || !bytes.Equal(got, long) {
			t.Errorf("the record itself is good, and was refused: %v", err)
		}
	})
}

func TestGatewayWithoutTheRecord(t *testing.T) {
	ipnsWorld(t, func(t *testing.T, w *world, g *records, n *Names) {
		k := newKey(t)
		fails(t, n, k.path(), ErrNotFound)
		g.set(k.name, k.sign(pageA, 1, 24*time.Hour, time.Minute))
		fails(t, n, k.path(), ErrNotFound)
		time.Sleep(negativeTTL)
		resolves(t, n, k.path(), pageA)

		// A gateway that has lost it does not end a signed record's life.
		g.set(k.name, nil)
		time.Sleep(time.Hour)
		resolves(t, n, k.path(), pageA)
	})
}

func TestFaultsOfAGateway(t *testing.T) {
	status := func(code int, header ...string) func(*records) {
		return func(g *records) {
			g.answer = func(w http.ResponseWriter) bool {
				for i := 0; i+1 < len(header); i += 2 {
					w.Header().Set(header[i], header[i+1])
				}
				w.WriteHeader(code)
				io.WriteString(w, "no")
				return true
			}
		}
	}
	for name, fault := range map[string]func(*records){
		"500":        status(500),
		"502":        status(502),
		"400":        status(400),
		"429":        status(429, "Retry-After", "60"),
		"redirected": status(302, "Location", "http://gateway.example/ipns/elsewhere"),
		"hangs":      func(g *records) { g.delay = time.Hour },
		"cuts off":   func(g *records) { g.answer = func(http.ResponseWriter) bool { panic(http.ErrAbortHandler) } },
	} {
		t.Run(name, func(t *testing.T) {
			ipnsWorld(t, func(t *testing.T, w *world, g *records, n *Names) {
				k := newKey(t)
				g.set(k.name, k.sign(pageA, 1, 24*time.Hour, time.Minute))
				g.with(fault)
				fails(t, n, k.path(), ErrUnavailable)
				g.with(func(g *records) { g.answer, g.delay = nil, 0 })
				time.Sleep(retry)
				if name == "429" {
					fails(t, n, k.path(), ErrUnavailable)
					time.Sleep(time.Minute)
				}
				resolves(t, n, k.path(), pageA)
			})
		})
	}
}

func TestWithoutAGateway(t *testing.T) {
	w := newWorld(t)
	n := w.names(nil)
	k := newKey(t)
	fails(t, n, k.path(), ErrUnsupported)
	if _, err := n.Record(context.Background(), k.name); !errors.Is(err, ErrUnsupported) {
		t.Fatalf("Record: %v", err)
	}
	if _, err := n.Record(context.Background(), ipns.Name{}); !errors.Is(err, ErrBadName) {
		t.Fatalf("Record of no name: %v", err)
	}
}

func TestKeyUnderAnotherCodec(t *testing.T) {
	w := newWorld(t)
	n := w.names(nil)
	k := newKey(t)
	wrong := cid.NewCidV1(cid.DagProtobuf, k.name.Cid().Hash())
	if e := fails(t, n, "/ipns/"+wrong.String(), ErrBadName); !strings.Contains(e.Detail, k.name.Cid().String()) {
		t.Fatalf("the error does not say what would work: %v", e)
	}
}
