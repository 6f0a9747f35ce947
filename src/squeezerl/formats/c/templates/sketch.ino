// Asks the policy for an action a hundred times a second and prints it. Put this file, @NAME@.h and
// @NAME@.c into a folder of this sketch's name.

#include "@NAME@.h"

static float observation[@UPPER@_OBSERVATIONS];
@NOISE_BUFFER@static @TYPE@ action[@UPPER@_ACTIONS];

void setup() {
  Serial.begin(115200);
}

void loop() {
  // Your sensors go here, in the units and the order that the agent was trained with.
  for (int i = 0; i < @UPPER@_OBSERVATIONS; i++) {
    observation[i] = 0.0f;
  }
@NOISE_LOOP@  const unsigned long start = micros();
  @NAME@_act(observation, @NOISE_GIVEN@action);
  const unsigned long end = micros();
  // Your motors go here.
  for (int i = 0; i < @UPPER@_ACTIONS; i++) {
    Serial.print(action[i]);
    Serial.print(' ');
  }
  Serial.print(end - start);
  Serial.println(" us");
  delay(10);
}
