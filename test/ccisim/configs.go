package ccisim

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// maxDataSize is Kubernetes' limit of a ConfigMap's or Secret's data; CCI's own is not documented.
const maxDataSize = 1 << 20

// configMapStrategy and secretStrategy keep data for Pods to read.
type configMapStrategy struct {
	plain
	forCreate, forUpdate fields
}

func (configMapStrategy) empty() object          { return &ConfigMap{} }
func (c configMapStrategy) createFields() fields { return c.forCreate }
func (c configMapStrategy) updateFields() fields { return c.forUpdate }

func (configMapStrategy) prepare(_ *Sim, _ *Credential, obj object) *apiError {
	return checkConfigMap(obj.(*ConfigMap))
}

func (configMapStrategy) prepareUpdate(_ *Sim, old, next object) *apiError {
	was, will := old.(*ConfigMap), next.(*ConfigMap)
	same := apiequality.Semantic.DeepEqual(was.Data, will.Data) && apiequality.Semantic.DeepEqual(was.BinaryData, will.BinaryData)
	if refusal := checkImmutable(configMaps, will.Name, was.Immutable, will.Immutable, same); refusal != nil {
		return refusal
	}
	return checkConfigMap(will)
}

func checkConfigMap(c *ConfigMap) *apiError {
	keys, size := []string{}, 0
	for k, v := range c.Data {
		keys, size = append(keys, k), size+len(v)
	}
	for k, v := range c.BinaryData {
		keys, size = append(keys, k), size+len(v)
	}
	return checkData(configMaps, c.Name, keys, size)
}

type secretStrategy struct {
	plain
	forCreate, forUpdate fields
}

func (secretStrategy) empty() object          { return &Secret{} }
func (s secretStrategy) createFields() fields { return s.forCreate }
func (s secretStrategy) updateFields() fields { return s.forUpdate }

func (secretStrategy) prepare(_ *Sim, _ *Credential, obj object) *apiError {
	secret := obj.(*Secret)
	mergeStringData(secret)
	setDefault(&secret.Type, corev1.SecretTypeOpaque)
	return checkSecret(secret)
}

func (secretStrategy) prepareUpdate(_ *Sim, old, next object) *apiError {
	was, will := old.(*Secret), next.(*Secret)
	mergeStringData(will)
	setDefault(&will.Type, was.Type)
	if was.Type != will.Type {
		return invalid(secrets, will.Name, field.ErrorList{field.Invalid(field.NewPath("type"), will.Type, "field is immutable")})
	}
	same := apiequality.Semantic.DeepEqual(was.Data, will.Data)
	if refusal := checkImmutable(secrets, will.Name, was.Immutable, will.Immutable, same); refusal != nil {
		return refusal
	}
	return checkSecret(will)
}

// mergeStringData moves the write-only stringData into data.
func mergeStringData(secret *Secret) {
	for k, v := range secret.StringData {
		if secret.Data == nil {
			secret.Data = map[string][]byte{}
		}
		secret.Data[k] = []byte(v)
	}
	secret.StringData = nil
}

func checkSecret(secret *Secret) *apiError {
	keys, size := []string{}, 0
	for k, v := range secret.Data {
		keys, size = append(keys, k), size+len(v)
	}
	if _, ok := secret.Data[corev1.DockerConfigJsonKey]; !ok && secret.Type == corev1.SecretTypeDockerConfigJson {
		return invalid(secrets, secret.Name, field.ErrorList{field.Required(field.NewPath("data").Key(corev1.DockerConfigJsonKey), "")})
	}
	return checkData(secrets, secret.Name, keys, size)
}

func checkData(res *resource, name string, keys []string, size int) *apiError {
	var errs field.ErrorList
	path := field.NewPath("data")
	for _, k := range keys {
		for _, message := range validation.IsConfigMapKey(k) {
			errs = append(errs, field.Invalid(path.Key(k), k, message))
		}
	}
	if size > maxDataSize {
		errs = append(errs, field.TooLong(path, "", maxDataSize))
	}
	if len(errs) > 0 {
		return invalid(res, name, errs)
	}
	return nil
}

func checkImmutable(res *resource, name string, was, will *bool, same bool) *apiError {
	if was == nil || !*was {
		return nil
	}
	if will == nil || !*will || !same {
		return invalid(res, name, field.ErrorList{field.Forbidden(field.NewPath("data"), fmt.Sprintf("field is immutable when `immutable` is set in %s", name))})
	}
	return nil
}
