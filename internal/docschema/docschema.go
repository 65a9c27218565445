// SPDX-License-Identifier: Apache-2.0

// Package docschema makes a JSON Schema (draft 2020-12) out of Go structs, so
// that a document's contract and its code are one thing. Tests write and check
// the files in docs/.
//
// Each exported field needs the tags json and doc. Others are optional: const
// and enum (comma separated, an empty entry is an empty string), min, format,
// and ref, the file whose schema a json.RawMessage follows.
package docschema

import (
	"encoding/json"
	"fmt"
	"reflect"
	"strconv"
	"strings"
)

// Head is what a schema begins with.
type Head struct {
	ID, Title, Description string
}

// object keeps its keys in order.
type object []entry

type entry struct {
	key   string
	value any
}

// MarshalJSON writes the entries in their order.
func (o object) MarshalJSON() ([]byte, error) {
	var b strings.Builder
	b.WriteByte('{')
	for i, e := range o {
		if i > 0 {
			b.WriteByte(',')
		}
		key, err := json.Marshal(e.key)
		if err != nil {
			return nil, err
		}
		value, err := json.Marshal(e.value)
		if err != nil {
			return nil, err
		}
		b.Write(key)
		b.WriteByte(':')
		b.Write(value)
	}
	b.WriteByte('}')
	return []byte(b.String()), nil
}

// maker collects the structs that it meets as definitions.
type maker struct {
	names []string
	defs  map[string]object
	types map[string]reflect.Type
}

// Make returns the schema of v's type, indented. Structs beneath it become
// definitions named after their types.
func Make(v any, head Head) ([]byte, error) {
	m := &maker{defs: map[string]object{}, types: map[string]reflect.Type{}}
	root := object{
		{"$schema", "https://json-schema.org/draft/2020-12/schema"},
		{"$id", head.ID},
		{"title", head.Title},
		{"description", head.Description},
	}
	fields, err := m.fields(reflect.TypeOf(v))
	if err != nil {
		return nil, err
	}
	root = append(root, fields...)
	var defs object
	for _, name := range m.names {
		defs = append(defs, entry{name, m.defs[name]})
	}
	if len(defs) > 0 {
		root = append(root, entry{"$defs", defs})
	}
	out, err := json.MarshalIndent(root, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("write schema: %w", err)
	}
	return append(out, '\n'), nil
}

// Definition is one definition of a schema.
type Definition struct {
	Name   string
	Schema json.RawMessage
}

// Definitions returns the schema of v's struct type and of all structs beneath
// it, to be put into a schema that somebody else writes.
func Definitions(v any) ([]Definition, error) {
	m := &maker{defs: map[string]object{}, types: map[string]reflect.Type{}}
	if _, err := m.object(reflect.TypeOf(v)); err != nil {
		return nil, err
	}
	all := make([]Definition, 0, len(m.names))
	for _, name := range m.names {
		raw, err := json.Marshal(m.defs[name])
		if err != nil {
			return nil, fmt.Errorf("write definition %s: %w", name, err)
		}
		all = append(all, Definition{name, raw})
	}
	return all, nil
}

// object makes a definition of a struct and returns a reference to it.
func (m *maker) object(t reflect.Type) (object, error) {
	name := strings.ToLower(t.Name()[:1]) + t.Name()[1:]
	if strings.ToUpper(t.Name()) == t.Name() {
		name = strings.ToLower(t.Name())
	}
	if other, ok := m.types[name]; ok && other != t {
		return nil, fmt.Errorf("%s and %s have one name in the schema", other, t)
	}
	if _, ok := m.defs[name]; !ok {
		m.names, m.types[name] = append(m.names, name), t
		m.defs[name] = nil // it may refer to itself
		fields, err := m.fields(t)
		if err != nil {
			return nil, err
		}
		m.defs[name] = fields
	}
	return object{{"$ref", "#/$defs/" + name}}, nil
}

func (m *maker) fields(t reflect.Type) (object, error) {
	var properties object
	var required []string
	for i := range t.NumField() {
		f := t.Field(i)
		key, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		doc := f.Tag.Get("doc")
		if key == "" || doc == "" {
			return nil, fmt.Errorf("field %s of %s needs the tags json and doc", f.Name, t)
		}
		schema, err := m.of(f.Type, f.Tag)
		if err != nil {
			return nil, fmt.Errorf("field %s of %s: %w", f.Name, t, err)
		}
		properties = append(properties, entry{key, append(object{{"description", doc}}, schema...)})
		required = append(required, key)
	}
	return object{
		{"type", "object"}, {"properties", properties}, {"required", required}, {"additionalProperties", false},
	}, nil
}

// of is the schema of a value; its tags constrain what is innermost.
func (m *maker) of(t reflect.Type, tag reflect.StructTag) (object, error) {
	if t == reflect.TypeFor[json.RawMessage]() {
		return object{{"$ref", tag.Get("ref")}}, nil
	}
	switch t.Kind() {
	case reflect.Pointer:
		inner, err := m.of(t.Elem(), tag)
		return object{{"anyOf", []any{object{{"type", "null"}}, inner}}}, err
	case reflect.Slice, reflect.Array:
		items, err := m.of(t.Elem(), tag)
		schema := object{{"type", "array"}, {"items", items}}
		if t.Kind() == reflect.Array {
			schema = append(schema, entry{"minItems", t.Len()}, entry{"maxItems", t.Len()})
		}
		return schema, err
	case reflect.Map:
		values, err := m.of(t.Elem(), tag)
		return object{{"type", "object"}, {"additionalProperties", values}}, err
	case reflect.Struct:
		return m.object(t)
	}
	return scalar(t, tag)
}

func scalar(t reflect.Type, tag reflect.StructTag) (object, error) {
	var schema object
	switch t.Kind() {
	case reflect.String:
		schema = object{{"type", "string"}}
	case reflect.Bool:
		schema = object{{"type", "boolean"}}
	case reflect.Int, reflect.Int64, reflect.Int32:
		schema = object{{"type", "integer"}}
	case reflect.Uint64, reflect.Uint32, reflect.Uint16:
		schema = object{{"type", "integer"}, {"minimum", 0}}
	case reflect.Float64:
		schema = object{{"type", "number"}}
	default:
		return nil, fmt.Errorf("no schema for %s", t)
	}
	if value, ok := tag.Lookup("const"); ok {
		n, err := strconv.Atoi(value)
		if err != nil {
			return nil, fmt.Errorf("const: %w", err)
		}
		schema = object{{"const", n}}
	}
	if value, ok := tag.Lookup("enum"); ok {
		schema = append(schema, entry{"enum", strings.Split(value, ",")})
	}
	if value, ok := tag.Lookup("format"); ok {
		schema = append(schema, entry{"format", value})
	}
	if value, ok := tag.Lookup("min"); ok && t.Kind() != reflect.Uint64 {
		n, err := strconv.ParseFloat(value, 64)
		if err != nil {
			return nil, fmt.Errorf("min: %w", err)
		}
		schema = append(schema, entry{"minimum", n})
	}
	return schema, nil
}
