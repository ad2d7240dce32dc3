"""Do stated confidences match what happens?"""
