"""When power is cleanest. The page reads what the worker has fetched, and waits for nobody."""

from flask import Blueprint
from werkzeug.wrappers import Response as AnyResponse

from consent_server.portal import forecast as forecasting
from consent_server.portal.views.visits import page, signed_in, signed_in_account

routes = Blueprint("portal_forecast", __name__)


@routes.get("/forecast")
@signed_in
def forecast() -> AnyResponse:
    return page("forecast", forecasts=forecasting.forecasts(signed_in_account().id))
