"""Answers judged by DeepEval's faithfulness and answer relevancy, with a judge of one's choice."""

from __future__ import annotations

import os
from typing import Any

from squeezerl.assistant.answer import Answer
from squeezerl.assistant.writing import figure_text
from squeezerl.errors import InvalidArgumentError

# DeepEval reports its use to its makers unless this is set before it is first imported.
os.environ.setdefault("DEEPEVAL_TELEMETRY_OPT_OUT", "1")
try:
    from deepeval.metrics import AnswerRelevancyMetric, FaithfulnessMetric
    from deepeval.models import DeepEvalBaseLLM
    from deepeval.test_case import LLMTestCase
except ModuleNotFoundError as error:
    raise InvalidArgumentError(
        'judging needs deepeval: pip install "squeezerl[deepeval]"'
    ) from error


def judge(answer: Answer, model: Any, name: str) -> dict[str, Any]:
    """The scores from 0 to 1 and their reasons, by the name of the metric.

    Args:
        answer: that a language model wrote.
        model: a chat model of LangChain, see `find_model`.
        name: of the judge.
    """
    if answer.text is None:
        raise InvalidArgumentError("there is no text to judge: the answer is of no language model")
    sources = [f"{passage.title}\n{passage.text}" for passage in answer.passages]
    case = LLMTestCase(
        input=answer.question,
        actual_output=answer.text,
        retrieval_context=[*sources, *map(figure_text, answer.figures)],
    )
    judged = {}
    for metric_type in (FaithfulnessMetric, AnswerRelevancyMetric):
        metric = metric_type(model=_Judge(model, name), async_mode=False, eval_mode="llm")
        metric.measure(case, _show_indicator=False)
        judged[metric.__name__] = {"score": metric.score, "reason": metric.reason}
    return judged


class _Judge(DeepEvalBaseLLM):  # type: ignore[misc]
    """A chat model of LangChain as DeepEval wants its judges."""

    def __init__(self, model: Any, name: str) -> None:
        self._chat = model
        super().__init__(name)

    def load_model(self) -> Any:
        return self._chat

    def generate(self, prompt: str) -> str:
        return str(self._chat.invoke(prompt).text)

    async def a_generate(self, prompt: str) -> str:
        return self.generate(prompt)

    def get_model_name(self) -> str:
        return str(self.name)
