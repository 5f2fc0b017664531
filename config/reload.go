package config

import (
	"encoding"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/shoal-cdn/shoal/task"
)

// Reload returns the settings that a running edge has after a reload: those of next,
// with what needs a restart left as it is in running; and all that differs between
// the two, in the order of [Config]'s fields, secrets masked. The result may be invalid although both
// are valid, because it has some settings of each.
func Reload(running, next *Config) (Config, task.Reloaded) {
	result := *next
	was, is, out := reflect.ValueOf(running).Elem(), reflect.ValueOf(next).Elem(), reflect.ValueOf(&result).Elem()
	changes := task.Reloaded{Changed: []task.Change{}, NeedsRestart: []task.Change{}} // not null as JSON
	each("", was.Type(), nil, func(key string, index []int, live bool) {
		from, to := was.FieldByIndex(index), is.FieldByIndex(index)
		if !live {
			out.FieldByIndex(index).Set(from)
		}
		switch {
		case same(from, to):
		case live:
			changes.Changed = append(changes.Changed, compare(key, from, to))
		default:
			changes.NeedsRestart = append(changes.NeedsRestart, compare(key, from, to))
		}
	})
	return result, changes
}

// Live reports whether a running edge takes over the setting with that key.
func Live(key string) bool {
	found := false
	each("", reflect.TypeFor[Config](), nil, func(k string, _ []int, live bool) { found = found || k == key && live })
	return found
}

// each calls f for every setting of t that has no settings below it, as leaves has it.
func each(prefix string, t reflect.Type, index []int, f func(key string, index []int, live bool)) {
	for i := range t.NumField() {
		field := t.Field(i)
		key, at := join(prefix, fieldName(field)), append(slices.Clone(index), i)
		if isGroup(field.Type) {
			each(key, field.Type, at, f)
		} else {
			f(key, at, field.Tag.Get("reload") == "live")
		}
	}
}

// isGroup reports whether a setting of type t has settings below it.
func isGroup(t reflect.Type) bool {
	_, isText := reflect.New(t).Interface().(encoding.TextUnmarshaler)
	return t.Kind() == reflect.Struct && !isText
}

// same compares what settings hold. A list that is empty and one that is not there
// are the same.
func same(a, b reflect.Value) bool {
	if a.Kind() == reflect.Slice && a.Len() == 0 && b.Len() == 0 {
		return true
	}
	return reflect.DeepEqual(a.Interface(), b.Interface())
}

func compare(key string, from, to reflect.Value) task.Change {
	c := task.Change{Key: key}
	if from.Kind() != reflect.Slice {
		c.From, c.To = text(from), text(to)
		return c
	}
	c.Removed, c.Added = without(from, to), without(to, from)
	return c
}

// without returns the entries of a that b does not have.
func without(a, b reflect.Value) []string {
	var list []string
	taken := make([]bool, b.Len())
next:
	for i := range a.Len() {
		for j := range b.Len() {
			if !taken[j] && reflect.DeepEqual(a.Index(i).Interface(), b.Index(j).Interface()) {
				taken[j] = true
				continue next
			}
		}
		list = append(list, text(a.Index(i)))
	}
	return list
}

// text returns a value as an operator would write it on one line; fields that are
// empty are left out, and secrets masked.
func text(v reflect.Value) string {
	if m, ok := v.Interface().(encoding.TextMarshaler); ok {
		b, _ := m.MarshalText() // ours do not fail
		return string(b)
	}
	if v.Kind() != reflect.Struct {
		return redacted(fmt.Sprint(v.Interface()))
	}
	var fields []string
	for i := range v.NumField() {
		if !v.Field(i).IsZero() {
			fields = append(fields, fieldName(v.Type().Field(i))+": "+quoted(text(v.Field(i))))
		}
	}
	return "{" + strings.Join(fields, ", ") + "}"
}

// quoted puts a text in quotes where YAML would read something else without them.
func quoted(s string) string {
	if strings.ContainsAny(s, ",{}[]#\"'") || strings.Contains(s, ": ") {
		return strconv.Quote(s)
	}
	return s
}
