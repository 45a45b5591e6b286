"""The API itself: what each route answers, by the contract, with the faults of the settings."""

from __future__ import annotations

import hashlib
import json
import re
import string
import time
from collections.abc import Callable
from typing import Any

from .account import PRICES, balance, price
from .dice import Dice
from .ledger import Ledger, Task
from .pacing import Limit, Pacing
from .pictures import TYPES, picture
from .rules import KEY_FORM, MODELS, Wrong, check
from .settings import Settings
from .shapes import HTML, as_task, failure, is_page, listed, page
from .uploads import Uploads
from .wire import Reply, Request

SUBMIT = "/v1/images/generations"
_MOST_IDS = 50
_MOST_PAGE = 100


class Provider:
    """One account's world, from its first request on."""

    def __init__(self, settings: Settings, links_url: str, api_url: str) -> None:
        self.settings = settings
        self.ledger = Ledger()
        self.links_url, self.api_url = links_url, api_url
        self.began_at: float | None = None
        self.pacing = Pacing(settings, self.ledger)
        self._limit = Limit(settings)
        self._keys: dict[str, tuple[bytes, Task, float]] = {}
        """By key: the body, its task, and until when it is still being decided."""
        self._dice = Dice(settings.seed)
        self._uploads = Uploads(links_url)
        self._secret = hashlib.sha256(f"links of {settings.seed}".encode()).hexdigest()
        self._made: list[Task] = []
        self._open: list[Task] = []

    @property
    def tasks_made(self) -> int:
        """So many were charged for."""
        return len(self._made)

    def change(self, settings: Settings) -> None:
        """From now on it works otherwise; what it remembers stays."""
        self.settings = self.pacing.settings = settings
        self._limit = Limit(settings)

    def report(self) -> dict[str, Any]:
        """The ledger."""
        return self.ledger.report(time.monotonic())

    def note_away(self, request: Request, kind: str) -> None:
        """A request that an outage met: counted, and a submit is one without an answer."""
        what, _ = self._route(request)
        self.ledger.requests[what] += 1
        self.ledger.replies[f"{what} {kind}"] += 1
        self.ledger.unanswered += what == "submit"

    # -- requests of the API -------------------------------------------------------------------------

    def answer(self, request: Request) -> Reply:
        """What the API says to a request, outages aside."""
        now = time.monotonic()
        if self.began_at is None:
            self.began_at = now
        kind, route = self._route(request)
        self.ledger.requests[kind] += 1
        self.pacing.arrived(kind, now)
        reply = route(request) if self._is_known(request, kind) else self.error(401, *_NO_KEY)
        if reply.kind == "other":
            reply.kind = kind if reply.status < 400 else "error"
        reply.asked = kind
        self.ledger.replies[f"{kind} {reply.status if reply.sent_share >= 1 else 'lost'}"] += 1
        if kind == "submit" and reply.status == 429:
            self.ledger.turned_away.append(now)
        if kind == "submit" and (reply.status >= 500 or reply.sent_share < 1 or is_page(reply)):
            self.ledger.unanswered += 1
        return reply

    def _route(self, request: Request) -> tuple[str, Callable[[Request], Reply]]:
        path, method = request.path, request.method
        if (method, path) == ("POST", SUBMIT):
            wrong = check(_json(request.body))
            return ("probe" if wrong else "submit"), self._submit
        if (method, path) == ("POST", "/v1/tasks/batch") and self.settings.batch:
            return "batch", self._batch
        if (method, path) == ("GET", "/v1/tasks") and self.settings.listing:
            return "list", self._list
        if method == "GET" and path.startswith("/v1/tasks/"):
            return "read", self._read
        fixed: dict[tuple[str, str], tuple[str, Callable[[Request], Reply]]] = {
            ("GET", "/v1/credits"): ("credits", self._credits),
            ("GET", "/web/api/models/pricing"): ("prices", lambda _: Reply(document=PRICES)),
        }
        if (method, path) in fixed:
            return fixed[method, path]
        if (store := self._uploads.route(method, path)) is not None:
            return "files", store
        return "unknown", self._nowhere

    def _nowhere(self, request: Request) -> Reply:
        optional = ("/v1/tasks", "/v1/tasks/batch")
        if request.path not in optional:
            self.fault(f"no such route: {request.method} {request.path}")
        return self.error(404, "not_found", "no such route")

    def _is_known(self, request: Request, kind: str) -> bool:
        if kind == "prices":
            return True
        keys = (self.settings.api_key, *self.settings.more_keys)
        return request.headers.get("authorization") in [f"Bearer {key}" for key in keys]

    def note_wait(self, reply: Reply) -> None:
        """What the caller was told to wait: by the header, or by the words of the suggestion."""
        if reply.status in (429, 503) and reply.sent_share >= 1:
            texts = [value for name, value in reply.headers if name == "Retry-After"]
            if said := _SUGGESTED.search(reply.payload()):
                texts.append(said[1].decode())
            for text in filter(str.isdigit, texts):
                self.pacing.told_to_wait(reply.asked, time.monotonic(), float(text))

    # -- submit --------------------------------------------------------------------------------------

    def _submit(self, request: Request) -> Reply:
        body, now = _json(request.body), time.monotonic()
        subject = str(body.get("prompt")) if isinstance(body, dict) else "?"
        happens = self._dice.happens("submit", subject)
        faults = self.settings.faults
        if (too_much := self._too_many(now, happens)) is not None:
            return too_much
        if happens(faults.lost_before):
            return Reply(status=500, sent_share=0.0)
        if happens(faults.rate_5xx_before):
            return self.trouble(happens)
        if happens(faults.html_before):
            return page(502)
        if self._dice.of("reject", subject).random() < faults.reject and self._dice.is_first(
            "reject", subject
        ):
            return self.error(400, "invalid_request", "the prompt cannot be used")
        if happens(faults.no_channel):
            return self.error(503, "no_available_channel", "no available channel for this model")
        reply = self._decide(request, body, now, subject)
        return reply if reply.status != 200 else self._spoilt(reply, request, now, happens)

    def _spoilt(self, reply: Reply, request: Request, now: float, happens: Callable[[float], bool]) -> Reply:
        """The task is made: what may happen to the reply that says so."""
        faults = self.settings.faults
        if happens(faults.lost_after) or len(self._made) in faults.lost_tasks:
            self._undecided(request, now)
            return Reply(status=200, document=reply.document, sent_share=0.0)
        if happens(faults.half_reply):
            return Reply(status=200, document=reply.document, sent_share=0.6)
        if happens(faults.rate_5xx_after):
            self._undecided(request, now)
            return self.trouble(happens)
        if happens(faults.html_after):
            return page(502)
        if happens(faults.slow_reply):
            reply.delay_s = faults.slow_s
        return reply

    def _undecided(self, request: Request, now: float) -> None:
        key = request.headers.get("idempotency-key", "")
        if key in self._keys and self.settings.faults.undecided_s:
            body, task, _ = self._keys[key]
            self._keys[key] = body, task, now + self.settings.faults.undecided_s

    def _decide(self, request: Request, body: Any, now: float, subject: str) -> Reply:
        wrong, key = check(body), request.headers.get("idempotency-key")
        if "application/json" not in request.headers.get("content-type", ""):
            self.fault(f"content type of a submit: {request.headers.get('content-type')}")
        if wrong and (self.settings.keys != "honoured" or key is None):
            return self._wrong(wrong)
        if key is not None and self.settings.keys != "ignored":
            if not KEY_FORM.fullmatch(key):
                self.fault(f"a key of {len(key)} characters or of others than allowed")
                return self.error(400, "invalid_request", "Idempotency-Key must have 16 to 96 characters")
            if (known := self._by_key(key, request.body, now)) is not None:
                return known
        if wrong:
            return self._wrong(wrong)
        if (poor := self._cannot_pay(body)) is not None:
            return poor
        task = self._make(body, key, now, subject)
        if key is not None and self.settings.keys != "ignored":
            self._keys[key] = request.body, task, 0.0
        return self.task_reply(task, now, "submit")

    def _by_key(self, key: str, body: bytes, now: float) -> Reply | None:
        if key not in self._keys:
            return None
        first, task, decided_at = self._keys[key]
        if first != body:
            return self.error(409, "idempotency_conflict", "the key was used with another body")
        if now < decided_at:
            return self.error(409, "paid_outcome_unknown", "the first attempt is still being decided")
        reply = self.task_reply(task, now, "submit")
        reply.headers.append(("Idempotency-Replayed", "true"))
        return reply

    def _wrong(self, wrong: Wrong) -> Reply:
        """Some clients ask with a bad body on purpose: counted as a probe, not as a fault."""
        if wrong.param == "model":
            return self.error(404, "model_not_found", wrong.message, param=wrong.param)
        return self.error(400, "invalid_request", wrong.message, param=wrong.param)

    def _cannot_pay(self, body: dict[str, Any]) -> Reply | None:
        left, wanted = self._credits_left(), price(body)
        if wanted > left:
            said = {"estimated_credits": wanted, "account_balance_credits": left}
            return self.error(402, "insufficient_user_quota", "not enough credits", **said)
        if self.settings.daily_quota and len(self._made) >= self.settings.daily_quota:
            said_when = {"reset_timezone": "UTC"}
            return self.error(402, "token_daily_quota_exceeded", "the day is used up", **said_when)
        return None

    def _too_many(self, now: float, happens: Callable[[float], bool]) -> Reply | None:
        faults = self.settings.faults
        open_now = sum(now < task.ends_at for task in self._open)
        if faults.most_at_once and open_now >= faults.most_at_once:
            return self.error(429, "rate_limit_exceeded", "too many concurrent tasks, wait for one to end")
        if wait_s := self._limit.wait_s(now):
            return self._slow_down(happens, wait_s, f"limit of {faults.most_per_window} requests reached")
        since = now - (self.began_at or now)
        in_burst = any(begin <= since < begin + length for begin, length in faults.bursts)
        if in_burst or happens(faults.rate_429):
            return self._slow_down(happens, faults.retry_after_s, "too many requests")
        return None

    def _slow_down(self, happens: Callable[[float], bool], wait_s: float, message: str) -> Reply:
        whole = max(1, round(wait_s + 0.499)) if wait_s else 0
        with_header = happens(self.settings.faults.retry_after_share)
        in_words = happens(0.5) and not with_header and whole
        said: dict[str, Any] = {"fallback_suggestion": f"retry after {whole} seconds"} if in_words else {}
        reply = self.error(429, "rate_limit_exceeded", message, **said)
        if with_header and whole:
            reply.headers.append(("Retry-After", str(whole)))
        return reply

    def _make(self, body: dict[str, Any], key: str | None, now: float, subject: str) -> Task:
        settings, dice = self.settings, self._dice.of("task", subject)
        low, high = settings.task_s
        takes_s = dice.uniform(low, high) * settings.time_scale
        fate, code = "completed", None
        if dice.random() < settings.faults.refuse_task and self._dice.is_first("task", subject):
            fate, code = "failed", dice.choice(settings.faults.refuse_codes)
        elif dice.random() < settings.faults.fail_task and self._dice.is_first("task", subject):
            fate, code = "failed", dice.choice(settings.faults.fail_codes)
        if dice.random() < settings.faults.stuck_task:
            takes_s *= 20
        created = int(time.time())
        letters = "".join(dice.choices(string.ascii_lowercase + string.digits, k=8))
        task = Task(
            id=f"task-unified-{created}-{letters}",
            number=len(self._made) + 1,
            body=body,
            key=key,
            made_at=now,
            created=created,
            ends_at=now + takes_s,
            fate=fate,
            error_code=code,
            credits=price(body),
        )
        self.ledger.tasks[task.id] = task
        self._made.append(task)
        self._open = [one for one in self._open if now < one.ends_at] + [task]
        self.ledger.most_open = max(self.ledger.most_open, len(self._open))
        return task

    def rename(self, task_id: str, shown: object) -> None:
        """From now on replies give this task another id, and it is known by that as well."""
        if (task := self.ledger.tasks.get(task_id)) is not None:
            task.public_id = shown
            self.ledger.tasks[str(shown)] = task

    # -- reads ---------------------------------------------------------------------------------------

    def _read_trouble(self, subject: str) -> Reply | None:
        happens, faults = self._dice.happens("read", subject), self.settings.faults
        if happens(faults.rate_429_read):
            return self._slow_down(happens, faults.retry_after_s, "too many requests")
        if happens(faults.rate_5xx_read):
            return self.trouble(happens)
        if happens(faults.lost_read):
            return Reply(sent_share=0.0)
        return page(200) if happens(faults.html_read) else None

    def _read(self, request: Request) -> Reply:
        now, task_id = time.monotonic(), request.tail("/v1/tasks/")
        self.pacing.read(task_id, now)
        if strange := request.query.keys() - {"sync_upstream"}:
            self.fault(f"a read with {sorted(strange)}")
        if (trouble := self._read_trouble(task_id)) is not None:
            return trouble
        task = self.ledger.tasks.get(task_id)
        if task is None:
            return self.error(404, "task_not_found", "task not found")
        return self.task_reply(task, now, "read")

    def _batch(self, request: Request) -> Reply:
        now, body = time.monotonic(), _json(request.body)
        ids = body.get("task_ids") if isinstance(body, dict) else None
        if not isinstance(ids, list) or not 1 <= len(ids) <= _MOST_IDS or len(set(map(str, ids))) < len(ids):
            self.fault(f"a batch of {len(ids) if isinstance(ids, list) else ids}")
            return self.error(400, "invalid_request", f"task_ids: 1 to {_MOST_IDS}, each once")
        for task_id in ids:
            self.pacing.read(str(task_id), now)
        if (trouble := self._read_trouble(f"batch of {ids[0]}")) is not None:
            return trouble
        found = [task for one in ids if (task := self.ledger.tasks.get(str(one))) is not None]
        return Reply(document={"data": [self._shown(task, now, "read") for task in found]})

    def _list(self, request: Request) -> Reply:
        query, now = request.query, time.monotonic()
        happens, faults = self._dice.happens("list", "list"), self.settings.faults
        if strange := query.keys() - {"status", "type", "model", "page", "page_size"}:
            self.fault(f"a list with {sorted(strange)}")
        if happens(faults.rate_429_list):
            return self._slow_down(happens, faults.retry_after_s, "too many requests")
        if happens(faults.rate_5xx_list):
            return self.trouble(happens)
        page, size = int(query.get("page", 1)), int(query.get("page_size", 50))
        if not (page >= 1 and 1 <= size <= _MOST_PAGE):
            self.fault(f"a list of page {page}, {size} a page")
            return self.error(400, "invalid_request", f"page_size: 1 to {_MOST_PAGE}")
        tasks = [
            task
            for task in reversed(self._made)
            if now - task.made_at >= faults.list_lag_s and self._is_wanted(task, query, now)
        ]
        shown = [listed(task, now) for task in tasks[(page - 1) * size : page * size]]
        return Reply(document={"data": shown, "total": len(tasks), "page": page, "page_size": size})

    def _is_wanted(self, task: Task, query: dict[str, str], now: float) -> bool:
        is_it = {"status": task.status(now), "type": "image", "model": self._model(task)}
        return all(query.get(name, "") in ("", value) for name, value in is_it.items())

    def task_reply(self, task: Task, now: float, kind: str) -> Reply:
        """A task as the provider's shape has it."""
        document = self._shown(task, now, kind)
        if self.settings.shape == "wrapped":
            document = {"code": 200, "message": "success", "data": document}
        return Reply(document=document, headers=[("X-Request-Id", f"req-{task.number}-{kind}")], kind=kind)

    def _shown(self, task: Task, now: float, kind: str) -> dict[str, Any]:
        is_done = task.status(now) == "completed"
        links = [self._link(task)] if is_done and kind == "read" else []
        if is_done and kind == "read":
            task.completed_reads += 1
        return as_task(task, self.settings.shape, self._model(task), links, now, kind)

    def _model(self, task: Task) -> str:
        name = str(task.body["model"])
        return MODELS[name].real_name or name

    # -- pictures ------------------------------------------------------------------------------------

    def _link(self, task: Task) -> str:
        signature = hashlib.sha256(f"{self._secret} {task.id}".encode()).hexdigest()
        return f"{self.links_url}/r/{task.id}/0.{self.settings.picture}?X-Signature={signature}"

    def download(self, request: Request) -> Reply:
        """What the host of the links answers."""
        self.ledger.requests["link"] += 1
        if "authorization" in request.headers:
            self.fault("a key was sent to the host of the links")
        parts = request.path.split("/")
        if request.path.startswith("/files/"):
            return self._uploads.stored(parts[2])
        task = self.ledger.tasks.get(parts[2]) if len(parts) == 4 else None
        if task is None or request.target != self._link(task).removeprefix(self.links_url):
            self.fault(f"no such link: {request.path}")
            return Reply(status=404, document={"error": "no such object"}, kind="link")
        reply = self._picture(task)
        self.ledger.replies[f"link {reply.status if reply.sent_share >= 1 else 'cut'}"] += 1
        return reply

    def _picture(self, task: Task) -> Reply:
        now, happens, faults = time.monotonic(), self._dice.happens("link", task.id), self.settings.faults
        if now - task.ends_at > self.settings.link_life_s:
            return Reply(
                status=403, body=b"<Error><Code>AccessDenied</Code></Error>", headers=[_XML], kind="link"
            )
        if happens(faults.link_403):
            return Reply(status=403, body=b"<html>Forbidden</html>", headers=[HTML], kind="link")
        if happens(faults.link_404):
            return Reply(status=404, body=b"<html>Not found</html>", headers=[HTML], kind="link")
        if happens(faults.rate_5xx_download):
            return page(503)
        form, quality = self.settings.picture, task.body.get("quality", "1K")
        data = picture(form, task.body.get("size", "1:1"), quality, task.id)
        if (digest := hashlib.sha256(data).hexdigest()) not in task.pictures:
            task.pictures.append(digest)
        cut = 0.5 if happens(faults.cut_download) else 1.0
        return Reply(body=data, headers=[("Content-Type", TYPES[form])], kind="link", sent_share=cut)

    # -- account -------------------------------------------------------------------------------------

    def _credits(self, _: Request) -> Reply:
        return Reply(document=balance(self.settings.credits, self._credits_left()))

    def _credits_left(self) -> float:
        now = time.monotonic()
        used = sum(task.credits for task in self._made if task.status(now) != "failed")
        return self.settings.credits - used

    # -- what goes wrong -----------------------------------------------------------------------------

    def error(self, status: int, code: str, message: str, **more: Any) -> Reply:
        """An error in the form of the settings."""
        document = failure(self.settings.error_shape, status, code, message, more)
        return Reply(status, document, kind="error")

    def trouble(self, happens: Callable[[float], bool]) -> Reply:
        """One of the errors that pass; every second one is not even JSON."""
        if happens(0.5):
            return page(502)
        return self.error(503, "service_unavailable_error", "the service is not available")

    def fault(self, what: str) -> None:
        """The client did what it may not do."""
        self.ledger.faults.append(what)

    def forget(self, what: str) -> None:
        """A restart that lost its memory: `keys`, or `tasks` as well."""
        self._keys.clear()
        if what == "tasks":
            self.ledger.tasks = {f"forgotten {task.id}": task for task in self.ledger.made()}
            for task in self._made:
                task.is_forgotten = True
            self._made, self._open = [], []


_SUGGESTED = re.compile(rb"retry after (\d+) seconds")

_NO_KEY = ("unauthorized", "the API key is not valid")
_XML = ("Content-Type", "application/xml")


def _json(body: bytes) -> Any:
    try:
        return json.loads(body)
    except ValueError:
        return None
