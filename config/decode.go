package config

import (
	"encoding"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"

	"github.com/goccy/go-yaml"
)

// A settingError is an error in one setting. Its key is the full path of the
// setting as the operator writes it, such as origins[1].url.
type settingError struct {
	key string
	err error
}

func (e *settingError) Error() string { return e.key + ": " + e.err.Error() }
func (e *settingError) Unwrap() error { return e.err }

// decode sets the fields of target, a pointer, from value: what YAML decodes to
// when it is given no type. Fields that value does not mention keep what they
// have; a list replaces the list that was there. key is the path of value, for
// errors; it is empty at the top.
func decode(key string, value any, target reflect.Value) error {
	if value == nil {
		return nil // "key:" with nothing behind it: the default stays
	}
	field := target.Elem()
	if text, ok := target.Interface().(encoding.TextUnmarshaler); ok {
		return decodeText(key, value, text)
	}
	switch field.Kind() {
	case reflect.Struct:
		return decodeStruct(key, value, field)
	case reflect.Slice:
		return decodeList(key, value, field)
	case reflect.String:
		s, ok := scalar(value)
		if !ok {
			return mistyped(key, value, "a text")
		}
		field.SetString(s)
	case reflect.Bool:
		b, ok := value.(bool)
		if !ok {
			return mistyped(key, value, "true or false")
		}
		field.SetBool(b)
	case reflect.Int, reflect.Int64:
		n, ok := integer(value)
		if !ok {
			return mistyped(key, value, "a whole number of 0 or more")
		}
		field.SetInt(n)
	default:
		return fmt.Errorf("%s: a setting of type %s cannot be decoded", key, field.Type())
	}
	return nil
}

func decodeText(key string, value any, target encoding.TextUnmarshaler) error {
	s, ok := scalar(value)
	if !ok {
		return mistyped(key, value, "a single value")
	}
	if _, quoted := value.(string); !quoted && isSecret(target) {
		// YAML reads an unquoted 0123 as another number: the secret would be a
		// different one from what stands in the file.
		return &settingError{key, errors.New("the secret looks like a number or a truth value; put it in quotes")}
	}
	if err := target.UnmarshalText([]byte(s)); err != nil {
		return &settingError{key, err}
	}
	return nil
}

func isSecret(target encoding.TextUnmarshaler) bool {
	_, ok := target.(*Secret)
	return ok
}

func decodeStruct(key string, value any, field reflect.Value) error {
	m, ok := value.(map[string]any)
	if !ok {
		return mistyped(key, value, "settings ("+strings.Join(settingNames(field.Type()), ", ")+")")
	}
	for _, name := range sortedKeys(m) {
		i := fieldByName(field.Type(), name)
		sub := join(key, name)
		if i < 0 {
			return &settingError{sub, fmt.Errorf("unknown setting; expected one of %s", strings.Join(settingNames(field.Type()), ", "))}
		}
		if err := decode(sub, m[name], field.Field(i).Addr()); err != nil {
			return err
		}
	}
	return nil
}

func decodeList(key string, value any, field reflect.Value) error {
	items, ok := value.([]any)
	if !ok {
		return mistyped(key, value, "a list")
	}
	list := reflect.MakeSlice(field.Type(), len(items), len(items))
	for i, item := range items {
		sub := fmt.Sprintf("%s[%d]", key, i)
		if item == nil {
			return &settingError{sub, errors.New("the entry is empty")}
		}
		if err := decode(sub, item, list.Index(i).Addr()); err != nil {
			return err
		}
	}
	field.Set(list)
	return nil
}

func mistyped(key string, value any, want string) error {
	text, err := yaml.MarshalWithOptions(value, yaml.Flow(true))
	if err != nil {
		text = fmt.Append(nil, value)
	}
	shown := strings.TrimSpace(string(text))
	if len(shown) > 60 {
		shown = shown[:60] + "..."
	}
	if key == "" {
		key = "the document"
	}
	return &settingError{key, fmt.Errorf("%q is not %s", shown, want)}
}

// scalar returns a value's text as the operator wrote it, or near to it.
func scalar(value any) (string, bool) {
	switch v := value.(type) {
	case string:
		return v, true
	case bool, int, int64, uint64, float64:
		return fmt.Sprint(v), true
	}
	return "", false
}

func integer(value any) (int64, bool) {
	switch v := value.(type) {
	case uint64:
		return int64(v), v < 1<<62
	case int64:
		return v, v >= 0
	case int:
		return int64(v), v >= 0
	}
	return 0, false
}

func join(key, name string) string {
	if key == "" {
		return name
	}
	return key + "." + name
}

func sortedKeys(m map[string]any) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

func fieldName(f reflect.StructField) string {
	name, _, _ := strings.Cut(f.Tag.Get("yaml"), ",")
	return name
}

func fieldByName(t reflect.Type, name string) int {
	for i := range t.NumField() {
		if fieldName(t.Field(i)) == name {
			return i
		}
	}
	return -1
}

func settingNames(t reflect.Type) []string {
	list := make([]string, 0, t.NumField())
	for i := range t.NumField() {
		list = append(list, fieldName(t.Field(i)))
	}
	return list
}

// leaves returns the keys of all settings of t that have no settings below them.
// A list is one leaf.
func leaves(prefix string, t reflect.Type) []string {
	var keys []string
	each(prefix, t, nil, func(key string, _ []int, _ bool) { keys = append(keys, key) })
	return keys
}
