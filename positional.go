package queue

import (
	"encoding"
	"encoding/json"
	"fmt"
	"reflect"
)

var (
	jsonUnmarshaler = reflect.TypeFor[json.Unmarshaler]()
	textUnmarshaler = reflect.TypeFor[encoding.TextUnmarshaler]()
)

// decodePositional decodes a list of arguments as [Register] says.
func decodePositional[T any](raw Raw, args *T) error {
	base := reflect.TypeFor[T]()
	for base.Kind() == reflect.Pointer {
		base = base.Elem()
	}
	byText := reflect.PointerTo(base).Implements(textUnmarshaler) // its JSON is no list
	switch base.Kind() {
	case reflect.Slice, reflect.Array, reflect.Interface:
		if !byText {
			return decodeArgs(raw, args)
		}
	}
	if !byText && reflect.PointerTo(base).Implements(jsonUnmarshaler) {
		return decodeArgs(raw, args)
	}
	var list []Raw
	if err := json.Unmarshal(raw, &list); err != nil {
		return fmt.Errorf("positional arguments: %w", err)
	}
	switch {
	case base.Kind() == reflect.Struct && !byText:
		return decodeFields(list, reflect.ValueOf(args).Elem())
	case len(list) == 0:
		return nil
	case len(list) == 1:
		return json.Unmarshal(list[0], args)
	}
	return fmt.Errorf("%d positional arguments for one %v", len(list), base)
}

// decodeFields decodes a list into the fields of a struct, or of one that
// target points to, by their position.
func decodeFields(list []Raw, target reflect.Value) error {
	for target.Kind() == reflect.Pointer {
		target.Set(reflect.New(target.Type().Elem()))
		target = target.Elem()
	}
	room := 0
	for i := range target.NumField() {
		field := target.Type().Field(i)
		if !field.IsExported() || field.Tag.Get("json") == "-" {
			continue
		}
		if room < len(list) {
			if err := json.Unmarshal(list[room], target.Field(i).Addr().Interface()); err != nil {
				return fmt.Errorf("positional argument %d, the field %s: %w", room+1, field.Name, err)
			}
		}
		room++
	}
	if len(list) > room {
		return fmt.Errorf("%d positional arguments, at most %d fit into %v", len(list), room, target.Type())
	}
	return nil
}
