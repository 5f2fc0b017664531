package list

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// liar is a sibling whose answers are whatever a test wants.
type liar map[string]func(request any) any

func (liar) Names() []string { return []string{"liar"} }

func (p liar) Call(_ context.Context, _, method string, request, response any) error {
	f := p[method]
	if f == nil {
		return fmt.Errorf("no %s", method)
	}
	raw, err := json.Marshal(f(request))
	if err != nil || response == nil {
		return err
	}
	return json.Unmarshal(raw, response)
}

// TestAnswersThatMakeNoSense reads from siblings that answer nonsense: nothing of it
// may come in, nothing may be lost, and the reason is said.
func TestAnswersThatMakeNoSense(t *testing.T) {
	type object = map[string]any
	const a = "00000000000000ff"
	everything := []any{0, uint64(math.MaxUint64)}
	outline := func(parts ...object) func(any) any { return func(any) any { return object{"parts": parts} } }
	good := outline(object{"author": a, "window": everything, "known": [][2]int{{1, 9}}, "buckets": []object{{"n": 0, "digest": a}}})
	pull := func(windows ...object) func(any) any { return func(any) any { return object{"windows": windows} } }
	for what, l := range map[string]liar{
		"author":            {methodOutline: outline(object{"author": "nobody", "window": everything})},
		"window":            {methodOutline: outline(object{"author": a, "window": []int{9, 3}})},
		"window not whole":  {methodOutline: outline(object{"author": a, "window": []int{3, 1023}})},
		"overlapping known": {methodOutline: outline(object{"author": a, "window": everything, "known": [][2]int{{5, 9}, {7, 12}}})},
		"known outside":     {methodOutline: outline(object{"author": a, "window": []int{0, 1023}, "known": [][2]int{{5, 2000}}})},
		"endless known":     {methodOutline: outline(object{"author": a, "window": everything, "known": [][2]uint64{{5, math.MaxUint64}}})},
		"bucket outside":    {methodOutline: outline(object{"author": a, "window": []int{0, 1023}, "buckets": []object{{"n": 7, "digest": a}}})},
		"same page again":   {methodOutline: func(any) any { return object{"parts": []any{}, "next": object{"run": "r"}} }},
		"no windows":        {methodOutline: good, methodPull: pull()},
		"other window":      {methodOutline: good, methodPull: pull(object{"author": a, "window": []int{1, 1023}})},
		"too many windows":  {methodOutline: good, methodPull: pull(object{"author": a, "window": []int{0, 1023}}, object{"author": a, "window": []int{1024, 2047}})},
		"live out of order": {methodOutline: good, methodPull: pull(object{"author": a, "window": []int{0, 1023}, "live": [][2]int{{9, 1}}})},
		"pin not listed":    {methodOutline: good, methodPull: pull(object{"author": a, "window": []int{0, 1023}, "pins": []object{{"author": a, "seq": 3, "pin": object{}}}})},
		"pin of another":    {methodOutline: good, methodPull: pull(object{"author": a, "window": []int{0, 1023}, "live": [][2]int{{3, 3}}, "pins": []object{{"author": "0000000000000001", "seq": 3, "pin": object{}}}})},
	} {
		t.Run(what, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l[methodCompare] = func(any) any { return compareAnswer{Run: "r", Sum: summary{1, 2}} }
				l[methodTell] = func(any) any { return nil }
				list, err := New(DefaultOptions(), Config{Datastore: newMemory(), Peers: l})
				if err != nil {
					t.Fatal(err)
				}
				defer list.Close()
				add(t, list, pins("p", 10)...)
				list.Start()
				// The state is that of the next comparison, as soon as there was one.
				failed := false
				for range 100 {
					time.Sleep(10 * time.Millisecond)
					failed = failed || list.Siblings()[0].Err != nil
				}
				if !failed {
					t.Error("no error is shown")
				}
				if list.Len() != 10 {
					t.Error(ids(list))
				}
				audit(t, list)
			})
		})
	}
}

func TestPinsThatAreNotUnderstoodHoldUpNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork()
		a := n.join(t, "a", newMemory(), nil)
		good, _ := encode(own(pin("good")))
		bad := json.RawMessage(`{"id":"bad","cid":"nonsense","owner":"x"}`)
		if _, err := a.told(t.Context(), "x", &tellRequest{Items: []item{{dot: dot{7, 1}, Pin: bad}, {dot: dot{7, 2}, Pin: good}}}); err != nil {
			t.Fatal(err)
		}
		want(t, a, "good")
		if a.index.known[7].has(1) {
			t.Error("it must not look as if it had been removed")
		}
		b := n.join(t, "b", newMemory(), nil)
		n.converge(t, soon)
		want(t, b, "good")
	})
}

func TestRequestsThatMakeNoSense(t *testing.T) {
	l := alone(t, newMemory())
	add(t, l, pins("p", 10)...)
	run := l.run
	for method, bodies := range map[string][]string{
		methodTell: {
			`nonsense`, `[]`, `{"items":[{}]}`, `{"items":[{"author":"0000000000000001","seq":0}]}`,
			`{"items":[{"author":"1","seq":1}]}`, `{"items":[{"author":"0000000000000001","seq":18446744073709551615}]}`,
			`{"items":[{"author":"0000000000000001","seq":-1}]}`, `"` + strings.Repeat("x", maxMessage) + `"`,
		},
		methodCompare: {`nonsense`, `{"sum":{"known":"zz","pins":"00"}}`},
		methodOutline: {`{}`, `{"run":"other"}`, `{"run":"` + run + `","bucket":-1}`},
		methodPull: {
			`{"run":"other"}`, `{"run":"` + run + `","wants":[{"author":"0000000000000001","window":[9,1]}]}`,
			`{"run":"` + run + `","wants":[{"author":"0000000000000001","window":[0,99999]}]}`,
			`{"run":"` + run + `","wants":[{"author":"0000000000000001","window":[0,9],"known":[[2,1]]}]}`,
		},
	} {
		for _, body := range bodies {
			if _, err := l.Handlers()[method](t.Context(), "x", json.RawMessage(body)); err == nil {
				t.Errorf("%s %.80s: no error", method, body)
			}
		}
	}
	if l.Len() != 10 {
		t.Error(ids(l))
	}
	audit(t, l)
}

// TestManyAuthorsAndGaps makes outlines that do not fit into one message, and pins of
// the largest size.
func TestManyAuthorsAndGaps(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork()
		a := n.join(t, "a", newMemory(), nil)
		r := rand.New(rand.NewPCG(3, 3))
		raw, _ := encode(own(pin("x")))
		var items []item
		put := func(d dot) {
			if r.IntN(3) == 0 {
				items = append(items, item{dot: d})
				return
			}
			items = append(items, item{dot: d, Pin: json.RawMessage(strings.Replace(string(raw), `"id":"x"`, fmt.Sprintf(`"id":"%v"`, d), 1))})
		}
		for range 1000 { // one number each, far out
			put(dot{author(r.Uint64() | 1), 1 + r.Uint64N(1<<40)})
		}
		for i := range uint64(8000) { // gaps everywhere
			put(dot{5, 1 + 2*i})
		}
		for i := range uint64(4000) { // one in each bucket
			put(dot{6, 1 + i*bucketSize})
		}
		if _, err := a.told(t.Context(), "x", &tellRequest{Items: items}); err != nil {
			t.Fatal(err)
		}
		large := pins("large", 30)
		for i := range large {
			large[i].Meta = map[string]string{"k": strings.Repeat("\x01", 16000)}
		}
		add(t, a, large...)
		b := n.join(t, "b", newMemory(), nil)
		t.Log(n.converge(t, 5*time.Second))
		t.Log(n.traffic())
		if b.Len() < 8000 {
			t.Error(b.Len())
		}
	})
}

func TestRanges(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 5))
	for range 2000 {
		var x ranges
		model := map[uint64]bool{}
		for range r.IntN(40) {
			n := 1 + r.Uint64N(60)
			if r.IntN(4) == 0 {
				x, model[n] = x.without(n), false
			} else if r.IntN(3) == 0 {
				y := ranges{{n, n + r.Uint64N(5)}}
				for i := y[0][0]; i <= y[0][1]; i++ {
					model[i] = true
				}
				x = x.union(y)
			} else {
				x, model[n] = x.union(ranges{{n, n}}), true
			}
		}
		if err := x.check(); err != nil {
			t.Fatal(x, err)
		}
		w := span{10, 30}
		in := x.within(w)
		for i := uint64(0); i < 80; i++ {
			if x.has(i) != model[i] || in.has(i) != (model[i] && i >= 10 && i <= 30) || x.includes(ranges{{i, i}}) != model[i] {
				t.Fatal(x, in, i, model[i])
			}
		}
		if !x.includes(in) || in.check() != nil {
			t.Fatal(x, in)
		}
	}
}
