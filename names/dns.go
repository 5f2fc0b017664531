package names

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/miekg/dns"
)

// udpSize is the largest DNS answer asked for over UDP: what passes without
// fragments everywhere (RFC 9715).
const udpSize = 1232

// question asks for the TXT records of a name.
func question(fqdn string) *dns.Msg {
	m := new(dns.Msg)
	m.SetQuestion(dns.Fqdn(fqdn), dns.TypeTXT)
	m.SetEdns0(udpSize, false)
	return m
}

// readAnswer takes the TXT records out of the answer a to the question q,
// following aliases (CNAME) within the answer, as recursive resolvers deliver
// them. The time is the shortest on the way.
func readAnswer(q, a *dns.Msg) (records []string, ttl time.Duration, err error) {
	if err := checkAnswer(q, a); err != nil {
		return nil, 0, err
	}
	owner, ttl := q.Question[0].Name, time.Duration(-1)
	for range len(a.Answer) + 1 {
		alias := ""
		for _, rr := range a.Answer {
			if !strings.EqualFold(rr.Header().Name, owner) || rr.Header().Class != dns.ClassINET {
				continue
			}
			switch rr := rr.(type) {
			case *dns.TXT:
				records = append(records, text(rr))
			case *dns.CNAME:
				alias = rr.Target
			default:
				continue
			}
			ttl = shorter(ttl, seconds(rr.Header().Ttl))
		}
		if len(records) > 0 {
			return records, ttl, nil
		}
		if alias == "" {
			return nil, 0, &noRecordError{ttl: shorter(ttl, recordlessTTL(a))}
		}
		owner = alias
	}
	return nil, 0, errors.New("DNS answer has a circle of aliases")
}

// checkAnswer refuses what is not a definite answer to q.
func checkAnswer(q, a *dns.Msg) error {
	switch {
	case !a.Response || a.Opcode != dns.OpcodeQuery:
		return errors.New("DNS message is not an answer")
	case len(a.Question) != 1 || !strings.EqualFold(a.Question[0].Name, q.Question[0].Name) ||
		a.Question[0].Qtype != q.Question[0].Qtype || a.Question[0].Qclass != q.Question[0].Qclass:
		return errors.New("DNS answer is for another question")
	case a.Truncated:
		return errors.New("DNS answer is truncated")
	case a.Rcode != dns.RcodeSuccess && a.Rcode != dns.RcodeNameError:
		return &rcodeError{a.Rcode}
	}
	return nil
}

// rcodeError is a resolver's word that it could not find out.
type rcodeError struct{ code int }

func (e *rcodeError) Error() string {
	if s, ok := dns.RcodeToString[e.code]; ok {
		return "DNS answer says " + s
	}
	return fmt.Sprintf("DNS answer has code %d", e.code)
}

// recordlessTTL is for how long a record's absence holds (RFC 2308, section 5).
func recordlessTTL(a *dns.Msg) time.Duration {
	for _, rr := range a.Ns {
		if soa, ok := rr.(*dns.SOA); ok {
			return min(seconds(soa.Header().Ttl), seconds(soa.Minttl))
		}
	}
	return -1
}

// shorter is the shorter of two times, of which a negative one is unknown.
func shorter(a, b time.Duration) time.Duration {
	if a < 0 || b >= 0 && b < a {
		return b
	}
	return a
}

// seconds reads a TTL; one with the highest bit set counts as 0 (RFC 2181,
// section 8).
func seconds(ttl uint32) time.Duration {
	if ttl > 1<<31-1 {
		return 0
	}
	return time.Duration(ttl) * time.Second
}

// text joins the strings of a TXT record, of at most 255 bytes each, and undoes
// the escapes that the library puts in.
func text(rr *dns.TXT) string {
	s := strings.Join(rr.Txt, "")
	if !strings.Contains(s, `\`) {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		switch {
		case s[i] != '\\' || i+1 == len(s):
			b.WriteByte(s[i])
		case i+3 < len(s) && digits(s[i+1:i+4]):
			b.WriteByte(byte(int(s[i+1]-'0')*100 + int(s[i+2]-'0')*10 + int(s[i+3]-'0')))
			i += 3
		default:
			b.WriteByte(s[i+1])
			i++
		}
	}
	return b.String()
}

func digits(s string) bool { return strings.Trim(s, "0123456789") == "" }
