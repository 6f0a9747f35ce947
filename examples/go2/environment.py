"""A Unitree Go2 that is told how to walk, in MuJoCo.

Observations, actions and control are those that robot_lab trains the Go2's policies with, so that
published policies walk here as they are.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import gymnasium
import mujoco
import numpy as np
import numpy.typing as npt
from gymnasium.envs.mujoco.mujoco_rendering import MujocoRenderer

XML_VARIABLE = "GO2_XML"

_LEGS, _PARTS = ("FR", "FL", "RR", "RL"), ("hip", "thigh", "calf")
_JOINTS = [f"{leg}_{part}" for leg in _LEGS for part in _PARTS]
_DEFAULT_ANGLES = np.tile([0.0, 0.8, -1.5], 4)
_ACTION_SCALE = np.tile([0.125, 0.25, 0.25], 4)
_STIFFNESS, _DAMPING, _MOST_TORQUE = 20.0, 0.5, 23.5  # N m / rad, N m s / rad, N m
_PHYSICS_STEP_S, _PHYSICS_STEPS = 0.005, 4  # of which one decision consists
_START_HEIGHT_M = 0.34
_MOST_ACTION = 10.0  # ten times what policies do on average; targets beyond are out of reach
_FASTEST = np.array([1.0, 0.5, 1.0])  # commands: forward and sideways in m/s, turning in rad/s
_FALLEN_HEIGHT_M, _FALLEN_UPRIGHT = 0.15, 0.5  # the cosine of a tilt of 60 degrees

Floats = npt.NDArray[np.float64]
Observation = npt.NDArray[np.float32]
Action = npt.NDArray[np.float32]


class Go2Env(gymnasium.Env[Observation, Action]):  # type: ignore[misc]
    """Follow commands without falling; one step is 20 ms.

    The observation (45,) is the angular velocity in the body's frame x 0.25, the direction of
    gravity in it, the command (forward and sideways in m/s, turning in rad/s), the joints' angles
    minus the default ones, their velocities x 0.05, and the last action. The action (12,) moves the
    target of each joint away from its default angle. Legs are in the order FR, FL, RR, RL, and have
    a hip, a thigh and a calf.

    Each step earns up to 1: two thirds for the velocity over ground and one third for turning, each
    exp(-error^2 / 0.25), as in the training of such policies. A fall ends the episode, and with it
    all that could have been earned. The seed decides on the start pose, the commands, the friction
    of all surfaces (x 0.7 to 1.5) and the mass of the trunk (x 0.85 to 1.25).

    The attributes `velocity` and `command`, (3,) each, say how the robot moves and how it should:
    forward, sideways, turning.

    Args:
        xml: the robot's MuJoCo model with a floor, go2.xml of unitree_mujoco; unless given, the
            environment variable GO2_XML names it.
        command_seconds: after which the command changes.
        render_mode: None or "rgb_array"; a camera follows the robot.
    """

    metadata = {"render_modes": ["rgb_array"], "render_fps": 50}  # noqa: RUF012  Gymnasium's

    def __init__(
        self,
        xml: str | os.PathLike[str] | None = None,
        command_seconds: float = 2.5,
        render_mode: str | None = None,
    ) -> None:
        xml = xml or os.environ.get(XML_VARIABLE)
        if xml is None or not Path(xml).is_file():
            raise FileNotFoundError(
                f"the Go2's model is not at {xml}; give `xml` (--env-kwargs xml:go2.xml) or set "
                f"{XML_VARIABLE}: unitree_robots/go2/go2.xml of unitree_mujoco with a floor"
            )
        self.model = _load(Path(xml), drawn=render_mode is not None)
        self.data = mujoco.MjData(self.model)
        joints = [self.model.joint(f"{name}_joint") for name in _JOINTS]
        self._angles = np.array([joint.qposadr[0] for joint in joints])
        self._velocities = np.array([joint.dofadr[0] for joint in joints])
        self._actuators = np.array([self.model.actuator(name).id for name in _JOINTS])
        self._trunk = self.model.body("base_link").id
        self._nominal: tuple[Floats, Floats, Floats] | None = None
        self._command_steps = round(command_seconds / (_PHYSICS_STEP_S * _PHYSICS_STEPS))
        self._rotation = np.zeros(9)
        self.observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (45,), np.float32)
        self.action_space = gymnasium.spaces.Box(-_MOST_ACTION, _MOST_ACTION, (12,), np.float32)
        self.render_mode = render_mode
        if render_mode is not None:
            self.mujoco_renderer = MujocoRenderer(
                self.model, self.data, width=480, height=480, camera_name="track"
            )

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """Start an episode; `options={"command": (0.5, 0, 0)}` keeps this command throughout."""
        super().reset(seed=seed)
        draw = self.np_random.uniform
        self._vary(friction=draw(0.7, 1.5), trunk_mass=draw(0.85, 1.25))
        mujoco.mj_resetData(self.model, self.data)
        heading = draw(-np.pi, np.pi)
        self.data.qpos[:7] = (
            0, 0, _START_HEIGHT_M, np.cos(heading / 2), 0, 0, np.sin(heading / 2)
        )  # fmt: skip
        self.data.qpos[self._angles] = _DEFAULT_ANGLES + draw(-0.1, 0.1, 12)
        self.data.qvel[:6] = draw(-0.2, 0.2, 6)
        given = (options or {}).get("command")
        self._fixed = given is not None
        self.command = np.array(given, np.float64) if self._fixed else self._draw_command()
        self._action = np.zeros(12)
        self._steps = 0
        self._sense()
        return self._observe(), {}

    def step(self, action: Action) -> tuple[Observation, float, bool, bool, dict[str, Any]]:
        """Move for 20 ms towards the joint targets of an action (12,)."""
        self._action = np.asarray(action, np.float64)
        self.data.ctrl[self._actuators] = _DEFAULT_ANGLES + _ACTION_SCALE * self._action
        mujoco.mj_step(self.model, self.data, _PHYSICS_STEPS)
        self._sense()
        forward, sideways, turning = self.velocity - self.command
        fallen = bool(self._rotation[8] < _FALLEN_UPRIGHT or self.data.qpos[2] < _FALLEN_HEIGHT_M)
        reward = 0.0
        if not fallen:
            over_ground = np.exp(-4 * (forward**2 + sideways**2))
            reward = float(2 * over_ground + np.exp(-4 * turning**2)) / 3
        self._steps += 1
        if self._steps % self._command_steps == 0 and not self._fixed:
            self.command = self._draw_command()
        return self._observe(), reward, fallen, False, {}

    def render(self) -> Any:
        """A picture (height, width, 3)."""
        return self.mujoco_renderer.render(self.render_mode)

    def close(self) -> None:
        """Close the renderer."""
        if self.render_mode is not None:
            self.mujoco_renderer.close()

    def _draw_command(self) -> Floats:
        command: Floats = self.np_random.uniform(-_FASTEST, _FASTEST)
        return command

    def _vary(self, *, friction: float, trunk_mass: float) -> None:
        """Scale the physics that the model had before the first episode."""
        model = self.model
        if self._nominal is None:
            self._nominal = (
                model.geom_friction.copy(), model.body_mass.copy(), model.body_inertia.copy()
            )  # fmt: skip
        frictions, masses, inertias = self._nominal
        model.geom_friction[:] = frictions * friction
        model.body_mass[self._trunk] = masses[self._trunk] * trunk_mass
        model.body_inertia[self._trunk] = inertias[self._trunk] * trunk_mass
        mujoco.mj_setConst(model, self.data)

    def _sense(self) -> None:
        mujoco.mju_quat2Mat(self._rotation, self.data.qpos[3:7])
        self.velocity: Floats = self._rotation.reshape(3, 3).T @ self.data.qvel[:3]
        self.velocity[2] = self.data.qvel[5]

    def _observe(self) -> Observation:
        """The observation; `_sense` has brought the rotation up to date."""
        observation = np.empty(45, np.float32)
        observation[:3] = 0.25 * self.data.qvel[3:6]
        observation[3:6] = -self._rotation[6:9]
        observation[6:9] = self.command
        observation[9:21] = self.data.qpos[self._angles] - _DEFAULT_ANGLES
        observation[21:33] = 0.05 * self.data.qvel[self._velocities]
        observation[33:45] = self._action
        return observation


def _load(xml: Path, *, drawn: bool) -> mujoco.MjModel:
    """The model with a motor controller in each joint, as the robot has."""
    spec = mujoco.MjSpec.from_file(str(xml))
    if drawn:
        _decorate(spec)
    model = spec.compile()
    model.opt.timestep = _PHYSICS_STEP_S
    model.opt.jacobian = mujoco.mjtJacobian.mjJAC_SPARSE  # a sixth faster for this robot
    model.opt.disableflags |= mujoco.mjtDisableBit.mjDSBL_SENSOR  # none is read
    # torque = stiffness (target - angle) - damping velocity, anew in each step of the physics
    model.actuator_biastype[:] = mujoco.mjtBias.mjBIAS_AFFINE
    model.actuator_gainprm[:, 0] = _STIFFNESS
    model.actuator_biasprm[:, :3] = 0, -_STIFFNESS, -_DAMPING
    model.actuator_ctrllimited[:] = False
    model.actuator_forcelimited[:] = True
    model.actuator_forcerange[:] = -_MOST_TORQUE, _MOST_TORQUE
    return model


def _decorate(spec: mujoco.MjSpec) -> None:
    """Shapes in the place of meshes, a floor whose squares show the way, and a camera behind."""
    gradient, checker = mujoco.mjtBuiltin.mjBUILTIN_GRADIENT, mujoco.mjtBuiltin.mjBUILTIN_CHECKER
    spec.add_texture(
        name="sky", type=mujoco.mjtTexture.mjTEXTURE_SKYBOX, width=64, height=384,
        builtin=gradient, rgb1=(0.6, 0.68, 0.76), rgb2=(0.3, 0.36, 0.42),
    )  # fmt: skip
    spec.add_texture(
        name="squares", type=mujoco.mjtTexture.mjTEXTURE_2D, width=128, height=128,
        builtin=checker, rgb1=(0.32, 0.38, 0.44), rgb2=(0.26, 0.31, 0.36),
    )  # fmt: skip
    floor = spec.add_material(name="floor", texrepeat=(1, 1), texuniform=True)
    floor.textures[mujoco.mjtTextureRole.mjTEXROLE_RGB] = "squares"
    for geom in spec.geoms:
        if geom.type == mujoco.mjtGeom.mjGEOM_PLANE:
            geom.material, geom.rgba = "floor", (1, 1, 1, 1)
        else:
            geom.group, geom.rgba = 0, (0.9, 0.58, 0.2, 1)
    camera = spec.body("base_link").add_camera(
        name="track", mode=mujoco.mjtCamLight.mjCAMLIGHT_TRACKCOM, pos=(0.95, -1.25, 0.55)
    )
    camera.alt.type = mujoco.mjtOrientation.mjORIENTATION_XYAXES
    camera.alt.xyaxes = (1.25, 0.95, 0, -0.32, 0.42, 1.57)
