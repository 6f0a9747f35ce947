"""What every method's spec has to keep; the test class of each inherits it."""

from __future__ import annotations

import json
import re
from typing import Any, ClassVar

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from small_policies import compress, make_artifact, make_network, random_observations
from squeezerl.errors import SpecError
from squeezerl.methods.base import SPECS, Given, Spec, parse_spec, spec_from_json
from squeezerl.methods.pruning import StructuredPruning
from squeezerl.methods.recipe import Recipe
from squeezerl.methods.static_int8 import StaticQuantization
from squeezerl.network.network import IntegerTensor, Network

INHERITED = settings(suppress_health_check=[HealthCheck.differing_executors])
LAYERS = ("layer0", "layer1", "layer2")
KEEP = st.lists(st.sampled_from(LAYERS), max_size=3, unique=True).map(tuple)


def network() -> Network:
    """One that every method can treat."""
    return make_network(5, 12, 8, 2)


class SpecContract:
    """`specs` draws specs that can treat a network with the layers `LAYERS`."""

    spec: ClassVar[type[Spec]]
    # Values of the fields that have no default.
    required: ClassVar[dict[str, Any]] = {}
    specs: ClassVar[st.SearchStrategy[Any]]

    def test_it_is_registered_under_its_kind(self) -> None:
        assert SPECS.get(self.spec.kind) is self.spec

    def test_it_is_frozen_and_hashable(self) -> None:
        spec = self._some_spec()
        with pytest.raises(AttributeError):
            spec.anything = 1
        assert {spec: 1}[self._some_spec()] == 1

    @INHERITED
    @given(data=st.data())
    def test_it_comes_back_from_its_text_and_from_its_json(self, data: st.DataObject) -> None:
        spec = data.draw(self.specs)
        assert parse_spec(spec.text) == spec
        plain = spec.to_json()
        assert json.loads(json.dumps(plain)) == plain
        assert spec_from_json(json.loads(json.dumps(plain))) == spec

    @INHERITED
    @given(data=st.data())
    def test_text_name_and_hash_are_those_of_one_spec(self, data: st.DataObject) -> None:
        first, second = data.draw(self.specs), data.draw(self.specs)
        same = first == second
        assert (first.text == second.text) == same
        assert (first.name == second.name) == same
        assert (Recipe((first,)).sha256 == Recipe((second,)).sha256) == same
        assert re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9.+_-]*", first.name)

    @INHERITED
    @given(data=st.data())
    def test_names_tell_it_from_every_other_method(self, data: st.DataObject) -> None:
        spec = data.draw(self.specs)
        others = {candidate.name for kind in SPECS for candidate in kind.candidates()}
        others -= {candidate.name for candidate in self.spec.candidates()}
        assert spec.name not in others | {"float"}

    @settings(INHERITED, max_examples=25)
    @given(data=st.data())
    def test_it_makes_a_new_network_and_leaves_the_old_one(self, data: st.DataObject) -> None:
        spec, before = data.draw(self.specs), network()
        after, again = compress(before, [spec]), compress(before, [spec])
        assert before.sha256 == network().sha256
        assert after.sha256 == again.sha256
        assert after.signature == before.signature
        if not self.spec.gives_integers:
            assert not after.roundings
            assert not any(isinstance(tensor, IntegerTensor) for _, tensor in after.tensors())

    @settings(INHERITED, max_examples=25)
    @given(data=st.data())
    def test_what_it_makes_passes_its_audit(self, data: st.DataObject) -> None:
        spec = data.draw(self.specs)
        artifact = make_artifact(network(), [spec])
        assert artifact.recipe == Recipe((spec,))
        assert artifact.network.sha256 == compress(network(), [spec]).sha256

    def test_what_it_needs_and_is_not_given_is_named(self) -> None:
        spec = self._some_spec()
        if spec.needs:
            with pytest.raises(SpecError, match=r"needs observations|give `qat`|`env`"):
                spec.apply(network(), Given())
        else:
            spec.apply(network(), Given())

    def test_only_what_takes_integers_follows_a_step_that_gives_them(self) -> None:
        spec, pruning = self._some_spec(), StructuredPruning(ratio=0.5)
        if "training" in spec.needs:
            with pytest.raises(SpecError, match="stands alone"):
                Recipe((pruning, spec))
            return
        Recipe((pruning, spec))
        if self.spec.gives_integers:
            Recipe((spec, pruning))
            with pytest.raises(SpecError, match="which gives integers"):
                Recipe((spec, StaticQuantization()))
        else:
            Recipe((spec, pruning))

    def test_aliases_are_read_as_what_they_stand_for(self) -> None:
        for alias, full in self.spec.aliases.items():
            rest = ":0.3" if self.spec.swept else ""
            assert parse_spec(alias + rest) == parse_spec(full + rest)
            assert isinstance(parse_spec(alias + rest), self.spec)

    @pytest.mark.parametrize("changes", [{"version": 99}, {"version": None}, {"bits": 8}])
    def test_data_of_another_version_or_with_unknown_fields_is_refused(
        self, changes: dict[str, Any]
    ) -> None:
        with pytest.raises(SpecError, match=r"99|None|no 'bits'"):
            spec_from_json(self._some_spec().to_json() | changes)

    @pytest.mark.parametrize("value", [None, {}, [1], "odd", 2, [[]]])
    def test_fields_of_another_type_are_refused(self, value: Any) -> None:
        data = self._some_spec().to_json()
        for name in set(data) - {"kind", "version"}:
            with pytest.raises(SpecError, match=f"{name} |{re.escape(str(value))}"):
                spec_from_json(data | {name: value})

    def test_layers_that_the_network_lacks_cannot_be_kept(self) -> None:
        if "keep" not in self._some_spec().to_json():
            return
        spec = self.spec.from_fields(self.required | {"keep": ["layer0", "layer7"]})
        with pytest.raises(SpecError, match=r"\['layer7'\].*layer0, layer1, layer2"):
            spec.apply(network(), Given(observations=random_observations(network(), 5)))

    def test_it_says_how_to_show_it_and_what_it_costs(self) -> None:
        spec = self._some_spec()
        assert all((spec.record.name, spec.record.label, spec.record.short, spec.record.color))
        assert spec.estimate_s > 0
        for candidate in self.spec.candidates():
            assert parse_spec(candidate.text) == candidate

    def _some_spec(self) -> Spec:
        return self.spec.from_fields(self.required)
