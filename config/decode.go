package config

import (
	"encoding"
	"errors"
	"fmt"
	"reflect"
	"regexp"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v4"
)

// A settingError is an error in one setting. Its key is the full path of the
// setting as the operator writes it, such as origins[1].url; its line is that of the
// file, or 0.
type settingError struct {
	key  string
	line int
	err  error
}

func (e *settingError) Error() string {
	if e.key == "" {
		return "the document: " + e.err.Error()
	}
	return e.key + ": " + e.err.Error()
}

func (e *settingError) Unwrap() error { return e.err }

// decode sets the fields of target, a pointer, from v. Fields that v does not mention
// keep what they have; a list replaces the list that was there. key is the path of v,
// for errors; it is empty at the top.
func decode(key string, v *value, target reflect.Value) error {
	if v == nil || v.kind == yaml.ScalarNode && v.tag == tagNull {
		return nil // "key:" with nothing behind it: the default stays
	}
	field := target.Elem()
	if text, ok := target.Interface().(encoding.TextUnmarshaler); ok {
		return decodeText(key, v, text)
	}
	switch field.Kind() {
	case reflect.Struct:
		return decodeStruct(key, v, field)
	case reflect.Slice:
		return decodeList(key, v, field)
	case reflect.String:
		if v.kind != yaml.ScalarNode {
			return mistyped(key, v, "a text")
		}
		field.SetString(v.text)
	case reflect.Bool:
		if v.kind != yaml.ScalarNode || v.tag != tagBool || looksLike(v.text) != tagBool {
			return mistyped(key, v, "true or false")
		}
		field.SetBool(strings.EqualFold(v.text, "true"))
	case reflect.Int, reflect.Int64:
		n, ok := integer(v.text)
		if !ok || v.tag != tagInt {
			return mistyped(key, v, "a whole number of 0 or more")
		}
		field.SetInt(n)
	default:
		return fmt.Errorf("%s: a setting of type %s cannot be decoded", key, field.Type())
	}
	return nil
}

func decodeText(key string, v *value, target encoding.TextUnmarshaler) error {
	if v.kind != yaml.ScalarNode {
		return mistyped(key, v, "a single value")
	}
	if _, secret := target.(*Secret); secret && v.tag != tagText {
		// Other tools that read the file take an unquoted 0123 for another number.
		return &settingError{key, v.line, errors.New("the secret looks like a number or a truth value; put it in quotes")}
	}
	if err := target.UnmarshalText([]byte(v.text)); err != nil {
		return &settingError{key, v.line, err}
	}
	return nil
}

func decodeStruct(key string, v *value, field reflect.Value) error {
	if v.kind != yaml.MappingNode {
		return mistyped(key, v, "settings ("+strings.Join(settingNames(field.Type()), ", ")+")")
	}
	for _, e := range v.entries {
		i := fieldByName(field.Type(), e.name)
		sub := join(key, e.name)
		if i < 0 {
			return &settingError{sub, e.line, unknown(field.Type())}
		}
		if err := decode(sub, e.value, field.Field(i).Addr()); err != nil {
			return err
		}
	}
	return nil
}

func unknown(t reflect.Type) error {
	return fmt.Errorf("unknown setting; expected one of %s", strings.Join(settingNames(t), ", "))
}

func decodeList(key string, v *value, field reflect.Value) error {
	if v.kind != yaml.SequenceNode {
		return mistyped(key, v, "a list")
	}
	list := reflect.MakeSlice(field.Type(), len(v.list), len(v.list))
	for i, item := range v.list {
		sub := fmt.Sprintf("%s[%d]", key, i)
		if item.kind == yaml.ScalarNode && item.tag == tagNull {
			return &settingError{sub, item.line, errors.New("the entry is empty")}
		}
		if err := decode(sub, item, list.Index(i).Addr()); err != nil {
			return err
		}
	}
	field.Set(list)
	return nil
}

// maxShown is how many bytes of a wrong value an error shows.
const maxShown = 60

func mistyped(key string, v *value, want string) error {
	shown := v.text
	if len(shown) > maxShown {
		shown = shown[:maxShown] + "..."
	}
	var err error
	switch {
	case v.kind == yaml.SequenceNode:
		err = fmt.Errorf("a list is not %s", want)
	case v.kind == yaml.MappingNode:
		err = fmt.Errorf("a group of settings is not %s", want)
	case v.tag == tagText && looksLike(v.text) != tagText:
		err = fmt.Errorf("%q is a text by its quotes, its block or its tag, and not %s; write it plainly", shown, want)
	default:
		err = fmt.Errorf("%q is not %s", shown, want)
	}
	return &settingError{key, v.line, err}
}

// join returns the path of a setting. Names that no setting has are shown in quotes.
func join(key, name string) string {
	if !plainName.MatchString(name) {
		if len(name) > maxShown {
			name = name[:maxShown] + "..."
		}
		name = strconv.Quote(name)
	}
	if key == "" {
		return name
	}
	return key + "." + name
}

var plainName = regexp.MustCompile(`^[A-Za-z0-9_-]{1,60}$`)

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
