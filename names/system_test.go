package names

import (
	"context"
	"errors"
	"net"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/miekg/dns"
)

// dnsServer is a real DNS server on loopback, on the same port for UDP and TCP.
func dnsServer(t *testing.T, h dns.HandlerFunc) *dns.ClientConfig {
	t.Helper()
	tcp, udp := sameport(t)
	for _, s := range []*dns.Server{{Listener: tcp, Handler: h}, {PacketConn: udp, Handler: h}} {
		started := make(chan struct{})
		s.NotifyStartedFunc = func() { close(started) }
		go s.ActivateAndServe()
		<-started
		t.Cleanup(func() { s.Shutdown() })
	}
	host, port, _ := net.SplitHostPort(tcp.Addr().String())
	return &dns.ClientConfig{Servers: []string{host}, Port: port, Attempts: 2}
}

// sameport listens on a free port that is free for both protocols.
func sameport(t *testing.T) (net.Listener, net.PacketConn) {
	t.Helper()
	var tcp net.Listener
	var udp net.PacketConn
	var err error
	for range 20 {
		if tcp, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
			break
		}
		if udp, err = net.ListenPacket("udp", tcp.Addr().String()); err == nil {
			return tcp, udp
		}
		tcp.Close()
	}
	t.Fatal(err)
	return nil, nil
}

func systemFor(cfg *dns.ClientConfig) *system {
	s := newSystem(time.Second)
	s.config = func() (*dns.ClientConfig, error) { return cfg, nil }
	return s
}

func txtReply(q *dns.Msg, ttl uint32, texts ...string) *dns.Msg {
	a := new(dns.Msg).SetReply(q)
	for _, s := range texts {
		a.Answer = append(a.Answer, &dns.TXT{
			Hdr: dns.RR_Header{Name: q.Question[0].Name, Rrtype: dns.TypeTXT, Class: dns.ClassINET, Ttl: ttl},
			Txt: []string{s},
		})
	}
	return a
}

func TestSystemResolverTellsTheTTL(t *testing.T) {
	s := systemFor(dnsServer(t, func(w dns.ResponseWriter, q *dns.Msg) {
		w.WriteMsg(txtReply(q, 77, "dnslink="+pageA))
	}))
	records, ttl, err := s.txt(context.Background(), "_dnslink.example.com")
	if err != nil || len(records) != 1 || records[0] != "dnslink="+pageA || ttl != 77*time.Second {
		t.Fatalf("got %q, %s, %v", records, ttl, err)
	}
}

func TestSystemResolverTurnsToTCP(t *testing.T) {
	s := systemFor(dnsServer(t, func(w dns.ResponseWriter, q *dns.Msg) {
		a := txtReply(q, 60)
		if w.LocalAddr().Network() == "udp" {
			a.Truncated = true
		} else {
			a = txtReply(q, 60, "dnslink="+pageA, strings.Repeat("x", 250))
		}
		w.WriteMsg(a)
	}))
	records, _, err := s.txt(context.Background(), "_dnslink.example.com")
	if err != nil || len(records) != 2 {
		t.Fatalf("got %q, %v", records, err)
	}
}

func TestSystemResolverDenials(t *testing.T) {
	s := systemFor(dnsServer(t, func(w dns.ResponseWriter, q *dns.Msg) {
		w.WriteMsg(new(dns.Msg).SetRcode(q, dns.RcodeNameError))
	}))
	_, _, err := s.txt(context.Background(), "_dnslink.example.com")
	if _, ok := errors.AsType[*noRecordError](err); !ok {
		t.Fatalf("got %v", err)
	}
}

func TestSystemResolverAsksAgainAndElsewhere(t *testing.T) {
	var asked atomic.Int32
	cfg := dnsServer(t, func(w dns.ResponseWriter, q *dns.Msg) {
		if asked.Add(1) == 1 {
			w.WriteMsg(new(dns.Msg).SetRcode(q, dns.RcodeServerFailure))
			return
		}
		w.WriteMsg(txtReply(q, 60, "dnslink="+pageA))
	})
	if _, _, err := systemFor(cfg).txt(context.Background(), "_dnslink.example.com"); err != nil || asked.Load() != 2 {
		t.Fatalf("asked %d times: %v", asked.Load(), err)
	}
	cfg.Servers = []string{"127.0.0.2", "127.0.0.1"} // nobody listens at the first
	if _, _, err := systemFor(cfg).txt(context.Background(), "_dnslink.example.com"); err != nil {
		t.Fatal(err)
	}
}

func TestSystemResolverHeedsCancellation(t *testing.T) {
	arrived := make(chan struct{}, 1)
	s := systemFor(dnsServer(t, func(dns.ResponseWriter, *dns.Msg) { arrived <- struct{}{} }))
	s.timeout = time.Hour
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		<-arrived
		cancel()
	}()
	if _, _, err := s.txt(ctx, "_dnslink.example.com"); err == nil {
		t.Fatal("an answer from a server that gives none")
	}
}

func TestSystemResolverWithoutServers(t *testing.T) {
	for name, config := range map[string]func() (*dns.ClientConfig, error){
		"no file":    func() (*dns.ClientConfig, error) { return nil, os.ErrNotExist },
		"no servers": func() (*dns.ClientConfig, error) { return &dns.ClientConfig{}, nil },
	} {
		t.Run(name, func(t *testing.T) {
			var asked string
			answer, failure := []string{"dnslink=" + pageA}, error(nil)
			s := &system{config: config, resolve: func(_ context.Context, fqdn string) ([]string, error) {
				asked = fqdn
				return answer, failure
			}}
			records, ttl, err := s.txt(context.Background(), "_dnslink.example.com")
			if err != nil || len(records) != 1 || ttl >= 0 || asked != "_dnslink.example.com." {
				t.Fatalf("got %q, %s, %v for %s", records, ttl, err, asked)
			}
			failure = &net.DNSError{Err: "no such host", IsNotFound: true}
			_, _, err = s.txt(context.Background(), "_dnslink.example.com")
			if _, ok := errors.AsType[*noRecordError](err); !ok {
				t.Fatalf("got %v", err)
			}
			failure = &net.DNSError{Err: "i/o timeout", IsTimeout: true}
			if _, _, err = s.txt(context.Background(), "_dnslink.example.com"); !errors.Is(err, failure) {
				t.Fatalf("got %v", err)
			}
		})
	}
}
