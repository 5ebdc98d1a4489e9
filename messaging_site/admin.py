"""The Django admin, which here refuses input on which Django's own raises: it comes from anybody who edits an address.

All models are registered here, those of other packages too.
"""

from functools import wraps
from http import HTTPStatus
from typing import Any

from django.contrib import admin
from django.contrib.admin.forms import AdminAuthenticationForm
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.contrib.admin.options import IncorrectLookupParameters
from django.contrib.admin.views.main import ChangeList
from django.core.exceptions import BadRequest, ValidationError
from django.core.validators import MaxLengthValidator
from django.db import DataError
from django.db.models import DateTimeField
from django.http import HttpRequest, HttpResponse
from django.utils.translation import ngettext

from messaging_site import logins


class CheckedLoginForm(AdminAuthenticationForm):
    """A login form that refuses names longer than any account's, and tries beyond the budgets (logins.py).

    Django's form only tells browsers the longest name. `wait`: the seconds until the next try, if this one was refused.
    """

    wait = 0

    def __init__(self, request: HttpRequest | None = None, *args: Any, **kwargs: Any) -> None:
        super().__init__(request, *args, **kwargs)
        name: Any = self.fields["username"]
        name.validators.append(MaxLengthValidator(name.max_length))

    def clean(self) -> Any:
        name = self.cleaned_data.get("username")
        if not name or not self.cleaned_data.get("password") or self.request is None:
            return super().clean()
        self.wait = logins.seconds_to_wait(self.request, name)
        if self.wait:
            text = ngettext(
                "Too many attempts to sign in at the moment. Please try again in %(seconds)d second.",
                "Too many attempts to sign in at the moment. Please try again in %(seconds)d seconds.",
                self.wait,
            )
            raise ValidationError(text, params={"seconds": self.wait})
        return super().clean()


class CheckedList(ChangeList):
    """A list that is shown without filters if those in its address make no query that the database can run."""

    def __init__(self, request: HttpRequest, *args: Any, **kwargs: Any) -> None:
        # Django does not split the two ends of a range in an address: the query fails as if a table were missing.
        if any(name.endswith("__range") for name in request.GET):
            raise IncorrectLookupParameters("ranges")
        try:
            super().__init__(request, *args, **kwargs)  # counts the rows, with all filters
        except (OverflowError, LookupError, ValueError, ValidationError, DataError) as error:
            raise IncorrectLookupParameters(error) from error


class Checked:
    """A mixin for every ModelAdmin."""

    def get_changelist(self, request: HttpRequest, **_: Any) -> type[ChangeList]:
        return CheckedList

    def lookup_allowed(self: Any, lookup: str, value: str, request: HttpRequest) -> bool:
        """Refuse regular expressions: they may be invalid, or keep the database busy for as long as one likes."""
        if lookup.endswith("regex"):
            return False
        allowed: bool = super().lookup_allowed(lookup, value, request)  # type: ignore[misc]
        return allowed

    def changelist_view(self: Any, request: HttpRequest, extra_context: Any = None) -> HttpResponse:
        """Refuse actions on objects whose keys are no keys."""
        key = self.opts.pk
        while key.remote_field:
            key = key.target_field
        try:
            for text in request.POST.getlist(ACTION_CHECKBOX_NAME):
                key.run_validators(key.to_python(text))
        except ValidationError:
            raise BadRequest(f"Not the key of a {self.opts.verbose_name}.") from None
        response: HttpResponse = super().changelist_view(request, extra_context)  # type: ignore[misc]
        return response

    def get_changeform_initial_data(self: Any, request: HttpRequest) -> dict[str, Any]:
        """Return the fields in the address, without times: Django would not parse them."""
        initial: dict[str, Any] = super().get_changeform_initial_data(request)  # type: ignore[misc]
        times = {field.name for field in self.opts.fields if isinstance(field, DateTimeField)}
        return {name: value for name, value in initial.items() if name not in times}


class CheckedSite(admin.AdminSite):
    login_form = CheckedLoginForm

    def login(self, request: HttpRequest, extra_context: Any = None) -> HttpResponse:
        response = super().login(request, extra_context)
        if request.method != "POST":
            return response
        if request.user.is_authenticated and response.status_code == HTTPStatus.FOUND:
            logins.remember(response, request.user)
        form = (getattr(response, "context_data", None) or {}).get("form")
        if wait := getattr(form, "wait", 0):
            response.status_code = HTTPStatus.TOO_MANY_REQUESTS
            response["Retry-After"] = str(wait)
        return response

    def admin_view(self, view: Any, cacheable: bool = False) -> Any:
        """Return `view` for staff only; a value in the address that no field can have is refused."""

        @wraps(view)
        def checked(*args: Any, **kwargs: Any) -> Any:
            try:
                return view(*args, **kwargs)
            except ValidationError:
                raise BadRequest("A value in the address is invalid.") from None

        return super().admin_view(checked, cacheable)

    def register(self, model_or_iterable: Any, admin_class: Any = None, **options: Any) -> None:
        """Register models with their admin class, made Checked."""
        base = admin_class or admin.ModelAdmin
        super().register(model_or_iterable, type(base.__name__, (Checked, base), {}), **options)
